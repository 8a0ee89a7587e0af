package cridiff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"
)

// maxMessageSize is what both ends of CRI agree on, in bytes.
const maxMessageSize = 16 << 20

// Call is a request that an agent sent.
type Call struct {
	// Method is the CRI name, such as "RunPodSandbox".
	Method string `json:"method"`
	// Request is the message as JSON, with the names that CRI gives its fields.
	Request json.RawMessage `json:"request"`
}

// recorded are the methods whose requests are kept.
func recorded() []string {
	return []string{"RunPodSandbox", "CreateContainer", "PullImage", "ImageStatus", "UpdateContainerResources", "UpdatePodSandboxResources"}
}

// granted are the answers to methods that the runtime behind the recorder may
// not have. They have no effect.
func granted(method string) (proto.Message, bool) {
	switch method {
	case "UpdateContainerResources", "UpdatePodSandboxResources", "ImageFsInfo":
		return &emptypb.Empty{}, true
	}
	return nil, false
}

// Recorder stands between an agent and a runtime. It passes everything on and
// writes down what the agent asks for.
type Recorder struct {
	runtime grpc.ClientConnInterface
	server  *grpc.Server
	done    chan struct{}

	mu    sync.Mutex
	calls []Call
	errs  []error
	logs  []string
}

// Record listens on a unix socket and passes calls on to the runtime. A socket
// that is left over is replaced.
func Record(socket string, runtime grpc.ClientConnInterface) (*Recorder, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove a socket left over: %w", err)
	}
	lis, err := net.Listen("unix", socket) //nolint:noctx // a local socket does not wait
	if err != nil {
		return nil, fmt.Errorf("listen as a runtime: %w", err)
	}
	r := &Recorder{runtime: runtime, done: make(chan struct{})}
	r.server = grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(r.pass),
		grpc.MaxRecvMsgSize(maxMessageSize), grpc.MaxSendMsgSize(maxMessageSize))
	go func() {
		defer close(r.done)
		_ = r.server.Serve(lis)
	}()
	return r, nil
}

// Close ends all connections and removes the logs of containers. The runtime
// behind the recorder stays.
func (r *Recorder) Close() {
	r.server.Stop()
	<-r.done
	for _, file := range r.logs {
		_ = os.Remove(file)
	}
}

// keepLog makes the log of a container, as runtimes do: agents count the logs of
// a container whose earlier instances are gone.
func (r *Recorder) keepLog(request []byte) {
	var create struct {
		Config struct {
			LogPath string `json:"log_path"`
		}
		Sandbox struct {
			LogDirectory string `json:"log_directory"`
		} `json:"sandbox_config"`
	}
	if json.Unmarshal(request, &create) != nil || create.Sandbox.LogDirectory == "" || create.Config.LogPath == "" {
		return
	}
	file := filepath.Join(create.Sandbox.LogDirectory, create.Config.LogPath)
	if f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o640); err == nil {
		_ = f.Close()
		r.logs = append(r.logs, file)
	}
}

// Calls are the requests so far, in order. An error is about requests that
// could not be read.
func (r *Recorder) Calls() ([]Call, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls), errors.Join(r.errs...)
}

// pass serves any method: CRI has none with more than one request.
func (r *Recorder) pass(_ any, agent grpc.ServerStream) error {
	full, ok := grpc.MethodFromServerStream(agent)
	if !ok {
		return status.Error(codes.Internal, "a call without a method")
	}
	var request frame
	if err := agent.RecvMsg(&request); err != nil {
		return fmt.Errorf("receive a request: %w", err)
	}
	r.note(full, request.data)
	err := r.forward(agent, full, &request)
	method := full[strings.LastIndexByte(full, '/')+1:]
	answer, ok := granted(method)
	if status.Code(err) != codes.Unimplemented || !ok {
		return err
	}
	data, err := proto.Marshal(answer)
	if err != nil {
		return status.Errorf(codes.Internal, "answer %s: %v", method, err)
	}
	return agent.SendMsg(&frame{data: data}) //nolint:wrapcheck // gRPC's own words for gRPC
}

// forward passes the request on and every answer back. Errors are the runtime's.
func (r *Recorder) forward(agent grpc.ServerStream, method string, request *frame) error {
	ctx, cancel := context.WithCancel(agent.Context())
	defer cancel()
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	runtime, err := r.runtime.NewStream(ctx, desc, method, grpc.ForceCodecV2(raw{}))
	if err != nil {
		return err //nolint:wrapcheck // the agent has to see the runtime's status
	}
	if err := runtime.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return err //nolint:wrapcheck // as above
	}
	if err := runtime.CloseSend(); err != nil {
		return err //nolint:wrapcheck // as above
	}
	for {
		var answer frame
		err := runtime.RecvMsg(&answer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // as above
		}
		if err := agent.SendMsg(&answer); err != nil {
			return err //nolint:wrapcheck // as above
		}
	}
}

func (r *Recorder) note(full string, request []byte) {
	method := full[strings.LastIndexByte(full, '/')+1:]
	if !slices.Contains(recorded(), method) {
		return
	}
	text, err := decode(full, request)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs = append(r.errs, err)
		return
	}
	r.calls = append(r.calls, Call{Method: method, Request: text})
	if method == "CreateContainer" {
		r.keepLog(text)
	}
}

// decode turns the request of a method ("/runtime.v1.RuntimeService/Version")
// into JSON. Fields that this version of CRI does not know are an error.
func decode(full string, request []byte) ([]byte, error) {
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", full, err)
	}
	desc, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("look up %s: it is no method", full)
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(desc.Input().FullName())
	if err != nil {
		return nil, fmt.Errorf("look up the request of %s: %w", full, err)
	}
	message := kind.New().Interface()
	if err := proto.Unmarshal(request, message); err != nil {
		return nil, fmt.Errorf("read a request of %s: %w", full, err)
	}
	if unknown := message.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		return nil, fmt.Errorf("read a request of %s: %d bytes are of unknown fields", full, len(unknown))
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("write a request of %s as JSON: %w", full, err)
	}
	return text, nil
}

// frame is a message nobody looks into.
type frame struct{ data []byte }

// raw is the codec of frames. It goes by the name of the real one.
type raw struct{}

var _ encoding.CodecV2 = raw{}

// Name is that of protobuf, which the messages are in.
func (raw) Name() string { return "proto" }

// Marshal returns the frame's bytes.
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, fmt.Errorf("pass on a message: got a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(f.data)}, nil
}

// Unmarshal keeps a copy of the bytes.
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("pass on a message: got a %T", v)
	}
	f.data = data.Materialize() //nolint:misspell // gRPC's word
	return nil
}
