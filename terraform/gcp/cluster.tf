# GKE Autopilot in three zones: machines come and go with the pods; network policies count, and so does workload identity.
resource "google_container_cluster" "beers" {
  name                = var.name
  location            = var.region
  enable_autopilot    = true
  deletion_protection = true

  network    = google_compute_network.beers.id
  subnetwork = google_compute_subnetwork.beers.name

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = length(var.operators) == 0
  }

  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.operators

      content {
        display_name = cidr_blocks.key
        cidr_block   = cidr_blocks.value
      }
    }
  }

  # Not the default account, which may do much.
  cluster_autoscaling {
    auto_provisioning_defaults {
      service_account = google_service_account.node.email
      oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    }
  }

  release_channel {
    channel = "REGULAR"
  }

  security_posture_config {
    mode               = "BASIC"
    vulnerability_mode = "VULNERABILITY_BASIC"
  }

  # beers is not to be moved in the evening.
  maintenance_policy {
    recurring_window {
      start_time = "2026-01-06T02:00:00Z"
      end_time   = "2026-01-06T06:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=TU,WE,TH"
    }
  }

  depends_on = [google_project_iam_member.node]
}

# Where the image is.
resource "google_artifact_registry_repository" "beers" {
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"

  docker_config {
    immutable_tags = true
  }

  depends_on = [google_project_service.needed]
}
