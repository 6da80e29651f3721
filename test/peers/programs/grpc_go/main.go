// Makes every kind of call as grpc-go does, for what passes to be compared: `program PORT` prints one JSON object for each
// call. Messages are any bytes, and are reported by size and hash.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// The canonical names, which grpc-go does not have.
var names = map[codes.Code]string{
	codes.OK: "OK", codes.Canceled: "CANCELLED", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
	codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL",
}

type anyBytes struct{}

func (anyBytes) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (anyBytes) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte(nil), b...); return nil }
func (anyBytes) Name() string                    { return "proto" }

func told(message []byte) []any {
	sum := sha256.Sum256(message)
	return []any{len(message), hex.EncodeToString(sum[:])[:16]}
}

// One call: sends its messages, apart by gap, and reads answers until the end or the most that it wants.
func call(connection *grpc.ClientConn, name, method string, limit, gap time.Duration, most int, messages [][]byte, options ...grpc.CallOption) {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-call", name), limit)
	defer cancel()
	kind := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(ctx, kind, "/acme.v2.Everything/"+method, options...)
	got := [][]any{}
	if err == nil {
		go func() {
			for at := range messages {
				if stream.SendMsg(&messages[at]) != nil {
					return
				}
				time.Sleep(gap)
			}
			stream.CloseSend()
		}()
		for {
			var answer []byte
			if err = stream.RecvMsg(&answer); err != nil {
				break
			}
			if got = append(got, told(answer)); len(got) == most {
				cancel()
			}
		}
	}
	if err == io.EOF {
		err = nil
	}
	line, _ := json.Marshal(map[string]any{"call": name, "status": names[status.Code(err)], "messages": got})
	fmt.Println(string(line))
}

func main() {
	connection, err := grpc.NewClient("127.0.0.1:"+os.Args[1],
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(anyBytes{})))
	if err != nil {
		panic(err)
	}
	one, minute := [][]byte{[]byte("one message")}, time.Minute
	several := [][]byte{}
	for at := range 10 {
		several = append(several, fmt.Appendf(nil, "message %d", at))
	}
	call(connection, "unary", "Unary", minute, 0, 0, one)
	call(connection, "megabyte", "Unary", minute, 0, 0, [][]byte{make([]byte, 1<<20)})
	call(connection, "gzip", "Unary", minute, 0, 0, [][]byte{make([]byte, 1<<16)}, grpc.UseCompressor(gzip.Name))
	call(connection, "server-stream", "ServerStream", minute, 0, 0, one)
	call(connection, "client-stream", "ClientStream", minute, 10*time.Millisecond, 0, several)
	call(connection, "both", "Both", minute, 10*time.Millisecond, 0, several)
	call(connection, "refused", "Refuse", minute, 0, 0, one)
	call(connection, "unknown", "Nothing", minute, 0, 0, one)
	call(connection, "deadline", "Slow", 250*time.Millisecond, 0, 0, one)
	call(connection, "cancelled", "Endless", minute, 0, 3, one)
}
