resource "google_project_service" "needed" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "compute.googleapis.com",
    "container.googleapis.com",
    "secretmanager.googleapis.com",
    "servicenetworking.googleapis.com",
    "sqladmin.googleapis.com",
  ])

  service            = each.value
  disable_on_destroy = false
}

resource "google_compute_network" "beers" {
  name                    = var.name
  auto_create_subnetworks = false

  depends_on = [google_project_service.needed]
}

resource "google_compute_subnetwork" "beers" {
  name                     = var.name
  network                  = google_compute_network.beers.id
  region                   = var.region
  ip_cidr_range            = cidrsubnet(var.network, 6, 0)
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = cidrsubnet(var.network, 2, 1)
  }

  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = cidrsubnet(var.network, 6, 32)
  }

  log_config {
    aggregation_interval = "INTERVAL_5_SEC"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# The way out, for nodes that have no address of their own outside.
resource "google_compute_router" "beers" {
  name    = var.name
  network = google_compute_network.beers.id
  region  = var.region
}

resource "google_compute_router_nat" "beers" {
  name                               = var.name
  router                             = google_compute_router.beers.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

# Where Cloud SQL has its addresses.
resource "google_compute_global_address" "services" {
  name          = "${var.name}-services"
  network       = google_compute_network.beers.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = cidrhost(cidrsubnet(var.network, 2, 3), 0)
  prefix_length = 16
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.beers.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
}
