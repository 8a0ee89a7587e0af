package http

import (
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// BenchmarkProbe is a probe of a server that answers at once, and does so with
// next to nothing of its own, which is counted too.
func BenchmarkProbe(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); answerAll(l) }()
	b.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	a := &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt(l.Addr().(*net.TCPAddr).Port)}
	c := &corev1.Container{}
	b.ReportAllocs()
	for b.Loop() {
		if got, err := Probe(b.Context(), a, c, "127.0.0.1", agent, patience); got != success || err != nil {
			b.Fatalf("%+v, %v", got, err)
		}
	}
}

// answerAll says to one after the other that all is well, until the listener ends.
func answerAll(l net.Listener) {
	ok, buffer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), make([]byte, 4<<10)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(buffer)
		_, _ = conn.Write(ok)
		_ = conn.Close()
	}
}
