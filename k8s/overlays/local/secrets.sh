#!/bin/sh
# Makes the namespace and the secrets that overlays/local names, with passwords that nobody has to know: secrets.sh
#
# Run it once: RabbitMQ and PostgreSQL take their passwords at their first start, and keep them with their data.
set -eu

password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
rabbitmq=$(password)
postgresql=$(password)
amqp_uri="amqp://beers:$rabbitmq@rabbitmq:5672/"
database_url="postgresql+psycopg2://beers:$postgresql@postgresql:5432/beers"

# From standard input: arguments are for every user of the machine to read.
kubectl create --filename - <<EOF
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: beers}}
  - {apiVersion: v1, kind: Secret, metadata: {name: rabbitmq, namespace: beers}, stringData: {RABBITMQ_DEFAULT_PASS: "$rabbitmq"}}
  - {apiVersion: v1, kind: Secret, metadata: {name: postgresql, namespace: beers}, stringData: {POSTGRES_PASSWORD: "$postgresql"}}
  - {apiVersion: v1, kind: Secret, metadata: {name: beers-bridge, namespace: beers}, stringData: {AMQP_URI: "$amqp_uri"}}
  - {apiVersion: v1, kind: Secret, metadata: {name: beers-service, namespace: beers}, stringData: {AMQP_URI: "$amqp_uri", DATABASE_URL: "$database_url"}}
  - {apiVersion: v1, kind: Secret, metadata: {name: beers-migration, namespace: beers}, stringData: {DATABASE_URL: "$database_url"}}
EOF
