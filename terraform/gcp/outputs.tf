output "cluster" {
  description = "The cluster's name, for gcloud container clusters get-credentials."
  value       = google_container_cluster.beers.name
}

output "image" {
  description = "Where the image is pushed, and what the overlay calls it."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.beers.repository_id}/beers"
}

output "database_authority" {
  description = "Who signs PostgreSQL's certificate, in PEM: postgresql.crt of the ConfigMap beers-authorities. Everybody may see it."
  value       = google_sql_database_instance.beers.server_ca_cert[0].cert
}

output "secrets" {
  description = "The names of the secrets that the operator copies into the namespace."
  value       = [for secret in google_secret_manager_secret.entry : secret.secret_id]
}
