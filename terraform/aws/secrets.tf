# Passwords are made here, written to Secrets Manager, and read from there by what needs them: so a run that ends half-way goes
# on with the same ones. None of these comes into state or plan.
locals {
  users   = toset(["database", "rabbitmq-service", "rabbitmq-bridge"])
  entries = toset(["beers-service", "beers-bridge", "beers-migration"])
}

ephemeral "random_password" "user" {
  for_each = local.users

  length  = 48
  special = false # as part of a URI it needs no escaping
}

resource "aws_secretsmanager_secret" "user" {
  for_each = local.users

  name       = "${var.name}/${each.key}"
  kms_key_id = aws_kms_key.beers.arn
}

resource "aws_secretsmanager_secret_version" "user" {
  for_each = local.users

  secret_id                = aws_secretsmanager_secret.user[each.key].id
  secret_string_wo         = ephemeral.random_password.user[each.key].result
  secret_string_wo_version = var.password_version
}

ephemeral "aws_secretsmanager_secret_version" "database" {
  secret_id = aws_secretsmanager_secret_version.user["database"].secret_id
}

ephemeral "aws_secretsmanager_secret_version" "service" {
  secret_id = aws_secretsmanager_secret_version.user["rabbitmq-service"].secret_id
}

ephemeral "aws_secretsmanager_secret_version" "bridge" {
  secret_id = aws_secretsmanager_secret_version.user["rabbitmq-bridge"].secret_id
}

locals {
  # amqps://host:5671, of all three nodes.
  broker        = trimprefix(aws_mq_broker.beers.instances[0].endpoints[0], "amqps://")
  database      = "${aws_db_instance.beers.address}:${aws_db_instance.beers.port}/${aws_db_instance.beers.db_name}"
  trust         = "sslmode=verify-full&sslrootcert=/run/beers/authorities/postgresql.crt"
  database_user = "${aws_db_instance.beers.username}:${ephemeral.aws_secretsmanager_secret_version.database.secret_string}"
  database_url  = "postgresql+psycopg2://${local.database_user}@${local.database}?${local.trust}"
  service_user  = "beers-service:${ephemeral.aws_secretsmanager_secret_version.service.secret_string}"
  bridge_user   = "beers-bridge:${ephemeral.aws_secretsmanager_secret_version.bridge.secret_string}"

  # What the pods get, by the names of their secrets in Kubernetes.
  given = {
    beers-service   = { AMQP_URI = "amqps://${local.service_user}@${local.broker}/", DATABASE_URL = local.database_url }
    beers-bridge    = { AMQP_URI = "amqps://${local.bridge_user}@${local.broker}/" }
    beers-migration = { DATABASE_URL = local.database_url }
  }
}

resource "aws_secretsmanager_secret" "entry" {
  for_each = local.entries

  name       = "${var.name}/${each.key}"
  kms_key_id = aws_kms_key.beers.arn
}

resource "aws_secretsmanager_secret_version" "entry" {
  for_each = local.entries

  secret_id                = aws_secretsmanager_secret.entry[each.key].id
  secret_string_wo         = jsonencode(local.given[each.key])
  secret_string_wo_version = var.password_version
}
