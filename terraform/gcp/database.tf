# PostgreSQL in two zones, on a disk that is written in both: a failover takes nothing back that was acknowledged.
resource "google_sql_database_instance" "beers" {
  name                = var.name
  region              = var.region
  database_version    = "POSTGRES_17"
  deletion_protection = true

  settings {
    tier                        = var.database_tier
    edition                     = "ENTERPRISE"
    availability_type           = "REGIONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = var.database_storage
    disk_autoresize             = true
    deletion_protection_enabled = true

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.beers.id
      ssl_mode        = "ENCRYPTED_ONLY"
      # An authority of this instance alone: who trusts it trusts nobody else.
      server_ca_mode = "GOOGLE_MANAGED_INTERNAL_CA"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7
      start_time                     = "02:00"

      backup_retention_settings {
        retained_backups = var.backup_days
      }
    }

    maintenance_window {
      day  = 2
      hour = 3
    }

    insights_config {
      query_insights_enabled  = true
      record_application_tags = false
      record_client_address   = false
    }

    # 20 of each service process, four at most and one more in a rollout, and some for all others.
    database_flags {
      name  = "max_connections"
      value = "150"
    }

    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }

    database_flags {
      name  = "log_connections"
      value = "on"
    }

    database_flags {
      name  = "log_disconnections"
      value = "on"
    }

    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }

    database_flags {
      name  = "log_min_error_statement"
      value = "error"
    }
  }

  depends_on = [google_service_networking_connection.services]
}

resource "google_sql_database" "beers" {
  name     = "beers"
  instance = google_sql_database_instance.beers.name
}

resource "google_sql_user" "beers" {
  name                = "beers"
  instance            = google_sql_database_instance.beers.name
  password_wo         = ephemeral.google_secret_manager_secret_version.database.secret_data
  password_wo_version = var.password_version
}
