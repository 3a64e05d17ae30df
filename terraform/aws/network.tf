locals {
  # Number by name: a zone keeps its addresses.
  zones = { for number, letter in var.zones : "${var.region}${letter}" => number }
}

resource "aws_vpc" "beers" {
  cidr_block           = var.network
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

# Nothing is in it: each part has a group of its own.
resource "aws_default_security_group" "unused" {
  vpc_id = aws_vpc.beers.id
}

# Pods, RabbitMQ and PostgreSQL.
resource "aws_subnet" "private" {
  for_each = local.zones

  vpc_id            = aws_vpc.beers.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.network, 3, each.value)

  tags = {
    Name                              = "${var.name}-private-${each.key}"
    "kubernetes.io/role/internal-elb" = "1"
  }
}

# Only gateways.
resource "aws_subnet" "public" {
  for_each = local.zones

  vpc_id            = aws_vpc.beers.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.network, 8, 240 + each.value)

  tags = {
    Name                     = "${var.name}-public-${each.key}"
    "kubernetes.io/role/elb" = "1"
  }
}

resource "aws_internet_gateway" "beers" {
  vpc_id = aws_vpc.beers.id

  tags = { Name = var.name }
}

resource "aws_eip" "nat" {
  for_each = local.zones

  domain = "vpc"

  tags = { Name = "${var.name}-nat-${each.key}" }
}

# One for each zone: the loss of one takes no other along.
resource "aws_nat_gateway" "beers" {
  for_each = local.zones

  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.public[each.key].id

  tags = { Name = "${var.name}-${each.key}" }

  depends_on = [aws_internet_gateway.beers]
}

resource "aws_route_table" "private" {
  for_each = local.zones

  vpc_id = aws_vpc.beers.id

  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.beers[each.key].id
  }

  tags = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_route_table_association" "private" {
  for_each = local.zones

  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private[each.key].id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.beers.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.beers.id
  }

  tags = { Name = "${var.name}-public" }
}

resource "aws_route_table_association" "public" {
  for_each = local.zones

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public.id
}

# Who spoke with whom, for a year.
resource "aws_cloudwatch_log_group" "flows" {
  name              = "/${var.name}/flows"
  retention_in_days = 365
  kms_key_id        = aws_kms_key.beers.arn
}

data "aws_iam_policy_document" "flows_assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["vpc-flow-logs.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "flows" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    resources = [aws_cloudwatch_log_group.flows.arn, "${aws_cloudwatch_log_group.flows.arn}:*"]
  }
}

resource "aws_iam_role" "flows" {
  name               = "${var.name}-flows"
  assume_role_policy = data.aws_iam_policy_document.flows_assume.json
}

resource "aws_iam_role_policy" "flows" {
  name   = "write"
  role   = aws_iam_role.flows.id
  policy = data.aws_iam_policy_document.flows.json
}

resource "aws_flow_log" "beers" {
  vpc_id          = aws_vpc.beers.id
  traffic_type    = "ALL"
  log_destination = aws_cloudwatch_log_group.flows.arn
  iam_role_arn    = aws_iam_role.flows.arn
}
