# Who may do what. The pods of beers have no identity in the cloud; the External Secrets Operator reads two secrets as the
# service account beers-secrets of the namespace beers, by workload identity.
data "google_project" "current" {}

resource "google_service_account" "node" {
  account_id   = "${var.name}-node"
  display_name = "Nodes of the cluster ${var.name}"
}

# What a node needs: to write logs and metrics, and to fetch images.
resource "google_project_iam_member" "node" {
  for_each = toset(["roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader"])

  project = var.project
  role    = each.value
  member  = google_service_account.node.member
}

locals {
  pool = "projects/${data.google_project.current.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog"
}

resource "google_secret_manager_secret_iam_member" "operator" {
  for_each = local.entries

  secret_id = google_secret_manager_secret.entry[each.key].id
  role      = "roles/secretmanager.secretAccessor"
  member    = "principal://iam.googleapis.com/${local.pool}/subject/ns/beers/sa/beers-secrets"

  # The pool comes with the first cluster.
  depends_on = [google_container_cluster.beers]
}
