variable "region" {
  description = "Where everything is, with three availability zones, such as eu-central-1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is the name of one of AWS' regions, such as eu-central-1."
  }
}

variable "zones" {
  description = "The letters of three of the region's availability zones, in an order that stays."
  type        = list(string)
  default     = ["a", "b", "c"]

  validation {
    condition     = length(distinct(var.zones)) == 3 && alltrue([for it in var.zones : can(regex("^[a-z]$", it))])
    error_message = "zones are the letters of three availability zones, such as a, b and c."
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
  description = "The addresses of the network, a /16 that no network meets which this one is to be joined with."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.network)) && endswith(var.network, "/16")
    error_message = "network is a /16, such as 10.20.0.0/16."
  }
}

variable "administrators" {
  description = "ARNs of the roles or users that administer the cluster."
  type        = set(string)

  validation {
    condition     = length(var.administrators) > 0 && alltrue([for arn in var.administrators : startswith(arn, "arn:")])
    error_message = "administrators are the ARNs of at least one role or user: without one nobody gets at the cluster."
  }
}

variable "operators" {
  description = "The addresses from which the API of Kubernetes may be called from outside the network; none closes it there."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.operators : can(cidrnetmask(it)) && !endswith(it, "/0")])
    error_message = "operators are IPv4 networks, such as 198.51.100.0/24, and not the whole internet."
  }
}

variable "kubernetes_version" {
  description = "Of the cluster: one that the manifests are compared with, or between two of them."
  type        = string
  default     = "1.34"

  validation {
    condition     = contains(["1.33", "1.34", "1.35"], var.kubernetes_version)
    error_message = "kubernetes_version is 1.33, 1.34 or 1.35."
  }
}

variable "database_class" {
  description = "The machine of PostgreSQL, of which there are two."
  type        = string
  default     = "db.m7g.large"

  validation {
    condition     = startswith(var.database_class, "db.")
    error_message = "database_class is one of RDS' instance classes, such as db.m7g.large."
  }
}

variable "database_storage" {
  description = "GiB to begin with; it grows by itself to ten times as much."
  type        = number
  default     = 50

  validation {
    condition     = var.database_storage >= 20 && var.database_storage <= 6000
    error_message = "database_storage is between 20 and 6000 GiB."
  }
}

variable "backup_days" {
  description = "For how many days back the database can be restored to any moment."
  type        = number
  default     = 14

  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 35
    error_message = "backup_days is between 1 and 35: without backups there is no other node to fail over to either."
  }
}

variable "broker_class" {
  description = "The machine of RabbitMQ, of which there are three."
  type        = string
  default     = "mq.m7g.large"

  validation {
    condition     = startswith(var.broker_class, "mq.m")
    error_message = "broker_class is one of Amazon MQ's that form a cluster, such as mq.m7g.large."
  }
}

variable "password_version" {
  description = "Raised by one, it makes new passwords for PostgreSQL and for RabbitMQ's users; README.md says what to do then."
  type        = number
  default     = 1

  validation {
    condition     = var.password_version >= 1 && floor(var.password_version) == var.password_version
    error_message = "password_version is a whole number from 1."
  }
}
