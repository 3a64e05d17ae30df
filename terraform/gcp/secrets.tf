# The password is made here, written to Secret Manager, and read from there by what needs it: so a run that ends half-way goes on
# with the same one. It comes into no state or plan. RabbitMQ's are made in the cluster, by its operator.
locals {
  entries = toset(["beers-service", "beers-migration"])
}

ephemeral "random_password" "database" {
  length  = 48
  special = false # as part of a URL it needs no escaping
}

resource "google_secret_manager_secret" "database" {
  secret_id = "${var.name}-database"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.needed]
}

resource "google_secret_manager_secret_version" "database" {
  secret                 = google_secret_manager_secret.database.id
  secret_data_wo         = ephemeral.random_password.database.result
  secret_data_wo_version = var.password_version
}

ephemeral "google_secret_manager_secret_version" "database" {
  secret  = google_secret_manager_secret.database.secret_id
  version = google_secret_manager_secret_version.database.version
}

locals {
  database = "${google_sql_database_instance.beers.private_ip_address}:5432/${google_sql_database.beers.name}"
  # The certificate names no address; its authority signs nothing but this instance's.
  trust = "sslmode=verify-ca&sslrootcert=/run/beers/authorities/postgresql.crt"
  user  = "${google_sql_user.beers.name}:${ephemeral.google_secret_manager_secret_version.database.secret_data}"
}

# What the pods get, by the names of their secrets in Kubernetes.
resource "google_secret_manager_secret" "entry" {
  for_each = local.entries

  secret_id = "${var.name}-${each.key}"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.needed]
}

resource "google_secret_manager_secret_version" "entry" {
  for_each = local.entries

  secret                 = google_secret_manager_secret.entry[each.key].id
  secret_data_wo         = jsonencode({ DATABASE_URL = "postgresql+psycopg2://${local.user}@${local.database}?${local.trust}" })
  secret_data_wo_version = var.password_version
}
