terraform {
  # Write-only arguments, by which a password comes into no state.
  required_version = ">= 1.11, < 2.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "7.45.0"
    }
    random = {
      source  = "hashicorp/random"
      version = "3.8.1"
    }
  }

  # bucket and prefix: terraform init -backend-config=FILE
  backend "gcs" {}
}

provider "google" {
  project = var.project
  region  = var.region

  default_labels = { application = var.name }
}
