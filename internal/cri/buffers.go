package cri

import (
	"fmt"

	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"
)

// gRPC's own buffers for messages over 32 KiB have a whole MiB: the list of a hundred
// pods is a tenth of that, and many are asked for at a time when many pods start. Its
// codec asks for buffers without regard to the connection, so that they are the same
// for all of them, and must be set before any is made.
var _ = func() struct{} {
	pool, err := mem.NewBinaryTieredBufferPool(8, 12, 14, 15, 16, 17, 18, 19, 20) // powers of two, bytes
	if err != nil {
		panic(fmt.Sprintf("buffers for messages: %v", err)) // Constants are wrong.
	}
	experimental.SetDefaultBufferPool(pool)
	return struct{}{}
}()
