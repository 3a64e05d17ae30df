# RabbitMQ on three machines in three zones, behind one name; TLS alone.
resource "aws_security_group" "broker" {
  name        = "${var.name}-broker"
  description = "RabbitMQ, for the pods of the cluster"
  vpc_id      = aws_vpc.beers.id
}

resource "aws_vpc_security_group_ingress_rule" "broker" {
  # AMQP, and the management with which users are made.
  for_each = { amqps = 5671, management = 443 }

  security_group_id            = aws_security_group.broker.id
  description                  = "${each.key} from the cluster"
  referenced_security_group_id = aws_eks_cluster.beers.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

# The one password that comes into the state: Amazon MQ takes the first user with the broker and no other way. README.md says
# how it is made worthless. Nothing of ours works with it.
resource "random_password" "broker" {
  length  = 48
  special = false
}

resource "aws_mq_broker" "beers" {
  broker_name        = var.name
  engine_type        = "RabbitMQ"
  engine_version     = "3.13"
  host_instance_type = var.broker_class
  deployment_mode    = "CLUSTER_MULTI_AZ"

  subnet_ids          = [for subnet in aws_subnet.private : subnet.id]
  security_groups     = [aws_security_group.broker.id]
  publicly_accessible = false

  logs {
    general = true
  }

  auto_minor_version_upgrade = true

  maintenance_window_start_time {
    day_of_week = "TUESDAY"
    time_of_day = "03:00"
    time_zone   = "UTC"
  }

  user {
    username = "${var.name}-first"
    password = random_password.broker.result
  }

  lifecycle {
    # A change of it would make another broker in place of this one, with nothing in its queues.
    ignore_changes  = [user]
    prevent_destroy = true
  }
}
