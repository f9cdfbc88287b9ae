#!/usr/bin/env python3
"""A gRPC client of a node without generated code: it asks the node for its interface. Needs PyPI `grpcio` and
`grpcio-reflection`.

    grpc_client.py 127.0.0.1:8890 services
    grpc_client.py 127.0.0.1:8890 submit PROJECT JWS [JWS…]       # signed messages, as `w3bstream send --jws --print` makes
    grpc_client.py 127.0.0.1:8890 publish PROJECT TOKEN EVENT-ID TYPE DATA
    grpc_client.py 127.0.0.1:8890 get ID
    grpc_client.py 127.0.0.1:8890 watch [--project NAME] [--id ID]

docs/grpc.md explains the codes.
"""

import argparse
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# With these the same bytes are refused for ever. With any other the client sends them again.
FINAL = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
}


class Node:
    """The services of one node. `node.call("w3bstream.v1.Ingest", "Submit")(request)`."""

    def __init__(self, address: str):
        self.channel = grpc.insecure_channel(address)
        self.reflection = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.reflection)

    def services(self) -> list[str]:
        return sorted(self.reflection.get_services())

    def message(self, name: str, **fields):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))(**fields)

    def call(self, service: str, method: str):
        found = self.pool.FindServiceByName(service).FindMethodByName(method)
        kind = ("stream" if found.client_streaming else "unary", "stream" if found.server_streaming else "unary")
        return getattr(self.channel, "_".join(kind))(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(found.output_type).FromString,
        )

    def submit_request(self, project: str, **form):
        return self.message("w3bstream.v1.SubmitRequest", project=project, **form)


def code_of(error: grpc.RpcError) -> str:
    """The stable code of a refusal; empty if the call failed on its way."""
    return dict(error.trailing_metadata() or ()).get("w3b-code", "")


def show(message) -> None:
    print(json_format.MessageToJson(message, indent=None, preserving_proto_field_name=True), flush=True)


def submit(node: Node, project: str, messages: list[str]) -> int:
    """Sends all on one stream. What is refused for now, or has no answer, would be sent again by a real device."""
    items = [
        node.message("w3bstream.v1.SubmitStreamRequest", tag=tag, message=node.submit_request(project, jws=jws))
        for tag, jws in enumerate(messages)
    ]
    accepted = 0
    for answer in node.call("w3bstream.v1.Ingest", "SubmitStream")(iter(items)):
        show(answer)
        accepted += answer.HasField("accepted")
    return 0 if accepted == len(messages) else 1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("services")
    one = commands.add_parser("submit")
    one.add_argument("project")
    one.add_argument("jws", nargs="+")
    one = commands.add_parser("publish")
    for name in ("project", "token", "event_id", "type", "data"):
        one.add_argument(name)
    commands.add_parser("get").add_argument("id")
    one = commands.add_parser("watch")
    one.add_argument("--project", default="")
    one.add_argument("--id", default="")
    args = parser.parse_args()
    node = Node(args.address)
    try:
        if args.command == "services":
            print("\n".join(node.services()))
        elif args.command == "submit":
            return submit(node, args.project, args.jws)
        elif args.command == "publish":
            message = node.message(
                "w3bstream.v1.TokenMessage",
                token=args.token, event_id=args.event_id, type=args.type, payload=args.data.encode(),
            )
            show(node.call("w3bstream.v1.Ingest", "Submit")(node.submit_request(args.project, token=message)))
        elif args.command == "get":
            show(node.call("w3bstream.v1.Messages", "Get")(node.message("w3bstream.v1.GetRequest", id=args.id)))
        else:
            request = node.message(
                "w3bstream.v1.WatchRequest", project=args.project, id=args.id, until_final=bool(args.id)
            )
            for event in node.call("w3bstream.v1.Messages", "Watch")(request):
                show(event)
    except grpc.RpcError as error:
        again = "" if error.code() in FINAL else " (send it again)"
        print(f"{error.code().name}: {error.details()}{again}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
