module w3bstream-device

go 1.24
