"""Clients that know no .proto file learn the contract from the server."""

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from tests.bridge.running_bridge import RunningBridge, running_bridge

NOWHERE = "amqp://127.0.0.1:1/"


async def asked(running: RunningBridge, version: str, *requests: Any) -> list[Any]:
    call: Any = running.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(iter(requests))
    return [response async for response in call]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_of_reflection_tell_the_services_and_their_files(version: str) -> None:
    symbols = [
        "beers.v1.BeersService",
        "pb.Beers",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")] + [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in symbols
    ]
    async with running_bridge(NOWHERE, wait=False) as running:
        listed, *described = await asked(running, version, *(request.SerializeToString() for request in requests))
    assert {service.name for service in listed.list_services_response.service} == set(symbols)
    for symbol, response in zip(symbols, described, strict=True):
        files = [
            FileDescriptorProto.FromString(file) for file in response.file_descriptor_response.file_descriptor_proto
        ]
        assert symbol in {f"{file.package}.{service.name}" for file in files for service in file.service}
    names = {
        FileDescriptorProto.FromString(file).name
        for file in described[0].file_descriptor_response.file_descriptor_proto
    }
    assert "beers/v1/beers.proto" in names


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a_question_that_is_none_is_answered_as_such(version: str) -> None:
    async with running_bridge(NOWHERE, wait=False) as running:
        (response,) = await asked(running, version, b"\xff\xff")
    assert response.error_response.error_code == 3
