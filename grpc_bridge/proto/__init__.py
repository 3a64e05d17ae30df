"""The gRPC contract: .proto sources (a buf module) and the code generated from them."""
