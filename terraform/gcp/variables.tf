variable "project" {
  description = "The project's id, in which everything is."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is the id of a project, not its name or number: 6 to 30 small letters, digits and hyphens."
  }
}

variable "region" {
  description = "Where everything is, in three zones, such as europe-west3."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is the name of a region, such as europe-west3, not of a zone."
  }
}

variable "name" {
  description = "How everything is called, or begins to be called."
  type        = string
  default     = "beers"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name))
    error_message = "name has 3 to 22 characters: small letters, digits and hyphens, and begins with a letter."
  }
}

variable "network" {
  description = "The addresses of the network, a /14 that no network meets which this one is to be joined with."
  type        = string
  default     = "10.20.0.0/14"

  validation {
    condition     = can(cidrnetmask(var.network)) && endswith(var.network, "/14")
    error_message = "network is a /14, such as 10.20.0.0/14."
  }
}

variable "operators" {
  description = "The addresses from which the API of Kubernetes may be called from outside the network, by a name for each."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for it in var.operators : can(cidrnetmask(it)) && !endswith(it, "/0")])
    error_message = "operators are IPv4 networks, such as { office = \"198.51.100.0/24\" }, and not the whole internet."
  }
}

variable "database_tier" {
  description = "The machine of PostgreSQL, of which there are two."
  type        = string
  default     = "db-custom-2-8192"

  validation {
    condition     = startswith(var.database_tier, "db-custom-") || startswith(var.database_tier, "db-perf-")
    error_message = "database_tier is one of Cloud SQL's with cores of its own, such as db-custom-2-8192."
  }
}

variable "database_storage" {
  description = "GiB to begin with; it grows by itself."
  type        = number
  default     = 50

  validation {
    condition     = var.database_storage >= 10 && var.database_storage <= 65536
    error_message = "database_storage is between 10 and 65536 GiB."
  }
}

variable "backup_days" {
  description = "How many daily backups are kept."
  type        = number
  default     = 14

  validation {
    condition     = var.backup_days >= 7 && var.backup_days <= 365
    error_message = "backup_days is between 7 and 365."
  }
}

variable "password_version" {
  description = "Raised by one, it makes a new password for PostgreSQL; README.md says what to do then."
  type        = number
  default     = 1

  validation {
    condition     = var.password_version >= 1 && floor(var.password_version) == var.password_version
    error_message = "password_version is a whole number from 1."
  }
}
