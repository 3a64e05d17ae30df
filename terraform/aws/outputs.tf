output "cluster" {
  description = "The cluster's name, for aws eks update-kubeconfig."
  value       = aws_eks_cluster.beers.name
}

output "image" {
  description = "Where the image is pushed, and what the overlay calls it."
  value       = aws_ecr_repository.beers.repository_url
}

output "broker_management" {
  description = "RabbitMQ's management, from within the network."
  value       = aws_mq_broker.beers.instances[0].console_url
}

output "secrets" {
  description = "The names of the secrets that the operator copies into the namespace."
  value       = [for secret in aws_secretsmanager_secret.entry : secret.name]
}
