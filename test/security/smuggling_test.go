//go:build e2e

package security

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestSmuggling sends requests whose end or whose headers can be understood in
// two ways. Inside each is a request with good credentials, behind it one more,
// and at the end one without: the codes tell what was taken for a request.
func TestSmuggling(t *testing.T) {
	f := cluster(t)
	good := "Authorization: Bearer " + f.users["pods"].token
	inner := f.line(f.users["pods"], "GET", "/pods")
	end := f.line(who{}, "GET", "/metrics", "Connection: close")
	post, get := "POST /pods HTTP/1.1\r\nHost: x\r\n", "GET /pods HTTP/1.1\r\nHost: x\r\n"
	chunked := post + "Transfer-Encoding: chunked\r\n\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(inner))
	const none = 401
	for name, c := range map[string]struct {
		request string
		codes   []int
	}{
		// A body has one length, or the request has no answer but a refusal.
		"length and chunks":             {post + length + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, []int{none, 200, none}},
		"chunks and a short length":     {post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(inner), inner), []int{none, none}},
		"two lengths":                   {post + "Content-Length: 0\r\n" + length + "\r\n" + inner, []int{400}},
		"the same length twice":         {post + length + length + "\r\n" + inner, []int{none, none}},
		"a list of lengths":             {post + fmt.Sprintf("Content-Length: %d, %d\r\n\r\n", len(inner), len(inner)) + inner, []int{400}},
		"a length with a plus":          {post + "Content-Length: +5\r\n\r\nhello" + inner, []int{400}},
		"a negative length":             {post + "Content-Length: -1\r\n\r\n" + inner, []int{400}},
		"a length in hex":               {post + "Content-Length: 0x5\r\n\r\nhello" + inner, []int{400}},
		"an endless length":             {post + "Content-Length: 99999999999999999999\r\n\r\n" + inner, []int{400}},
		"a length with a space":         {post + "Content-Length : 5\r\n\r\nhello" + inner, []int{400}},
		"a folded length":               {post + "Content-Length:\r\n 5\r\n\r\nhello" + inner, []int{none, 200, none}},
		"chunks with a space":           {post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner, []int{400}},
		"chunks twice":                  {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, []int{501}},
		"chunks, then nothing":          {post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner, []int{501}},
		"nothing, then chunks":          {post + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + inner, []int{501}},
		"xchunked":                      {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner, []int{501}},
		"chunks after a vertical tab":   {post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + inner, []int{400}},
		"CHUNKED":                       {post + "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n" + inner, []int{none, 200, none}},
		"a chunk with a plus":           {chunked + "+5\r\nhello\r\n0\r\n\r\n" + inner, []int{none}},
		"a chunk with 0x":               {chunked + "0x5\r\nhello\r\n0\r\n\r\n" + inner, []int{none}},
		"a negative chunk":              {chunked + "-1\r\nhello\r\n0\r\n\r\n" + inner, []int{none}},
		"an endless chunk":              {chunked + "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n" + inner, []int{none}},
		"a chunk that is too long":      {chunked + "2\r\nhello\r\n0\r\n\r\n" + inner, []int{none}},
		"a chunk after a bare LF":       {chunked + "5\nhello\r\n0\r\n\r\n" + inner, []int{none}},
		"an extension after a bare LF":  {chunked + "5;\nhello\r\n0\r\n\r\n" + inner, []int{none}},
		"an extension of a chunk":       {chunked + "5;a=b\r\nhello\r\n0\r\n\r\n" + inner, []int{none, 200, none}},
		"credentials in a trailer":      {post + "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\n" + good + "\r\n\r\n", []int{none, none}},
		"a GET with a body":             {get + length + "\r\n" + inner, []int{none, none}},
		"an expectation":                {post + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello" + inner, []int{none}},
		"an expectation without a body": {post + length + "Expect: 100-continue\r\n\r\n" + inner, []int{none}},
		"an unknown expectation":        {post + "Content-Length: 5\r\nExpect: 200-ok\r\n\r\nhello" + inner, []int{417}},
		// Headers are lines.
		"a folded header":            {get + "X: a\r\n " + good + "\r\n\r\n", []int{none, none}},
		"a folded first header":      {"GET /pods HTTP/1.1\r\n Host: x\r\n" + good + "\r\n\r\n", []int{400}},
		"a header after a bare LF":   {get + "X: a\n" + good + "\r\n\r\n", []int{200, none}}, // net/http ends lines so
		"a header after a bare CR":   {get + "X: a\r" + good + "\r\n\r\n", []int{400}},
		"bare LFs only":              {"GET /pods HTTP/1.1\nHost: x\n\n" + inner, []int{none, 200, none}},
		"bare CRs only":              {"GET /pods HTTP/1.1\rHost: x\r\r" + inner, []int{400}},
		"NUL in a value":             {get + "X: a\x00" + good + "\r\n\r\n", []int{400}},
		"NUL in a name":              {get + "X\x00: a\r\n\r\n", []int{400}},
		"a line without a colon":     {get + "nonsense\r\n" + good + "\r\n\r\n", []int{400}},
		"a header without a name":    {get + ": a\r\n\r\n", []int{400}},
		"a space before the colon":   {get + "Authorization : Bearer " + f.users["pods"].token + "\r\n\r\n", []int{400}},
		"a name that looks alike":    {get + "Authorization_: Bearer " + f.users["pods"].token + "\r\n\r\n", []int{none, none}},
		"credentials hop by hop":     {get + "Connection: close, Authorization\r\n" + good + "\r\n\r\n", []int{200}},
		"an encoded line end":        {"GET /pods?x=%0d%0aAuthorization:%20Bearer%20x HTTP/1.1\r\nHost: x\r\n\r\n", []int{none, none}},
		"no host":                    {"GET /pods HTTP/1.1\r\n\r\n", []int{400}},
		"two hosts":                  {get + "Host: y\r\n\r\n", []int{400}},
		"a malformed host":           {"GET /pods HTTP/1.1\r\nHost: x y\r\n\r\n", []int{400}},
		"an empty line first":        {"\r\n" + get + "\r\n", []int{400}},
		"HTTP/0.9":                   {"GET /pods\r\n", []int{400}},
		"HTTP/1.0":                   {"GET /pods HTTP/1.0\r\n\r\n" + inner, []int{none}},
		"HTTP/1.0 that stays":        {"GET /pods HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + inner, []int{none, 200, none}},
		"HTTP/1.0 with chunks":       {"POST /pods HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, []int{none, 400}},
		"HTTP/1.2":                   {"GET /pods HTTP/1.2\r\nHost: x\r\n\r\n", []int{none, none}},
		"HTTP/1.10":                  {"GET /pods HTTP/1.10\r\nHost: x\r\n\r\n", []int{400}},
		"HTTP/2.0":                   {"GET /pods HTTP/2.0\r\nHost: x\r\n\r\n", []int{505}},
		"http/1.1":                   {"GET /pods http/1.1\r\nHost: x\r\n\r\n", []int{400}},
		"HTTP/2 without being asked": {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400}},
		"TLS in TLS":                 {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
		// Credentials are those of a request, not of a connection.
		"nobody, then one who may":       {get + "\r\n" + inner + get + "\r\n", []int{none, 200, none, none}},
		"one who may, then nobody":       {inner + get + "\r\n" + inner + get + "\r\n", []int{200, none, 200, none, none}},
		"one who may, then another path": {inner + f.line(f.users["pods"], "GET", "/stats/summary") + inner, []int{200, 403, 200, none}},
	} {
		t.Run(name, func(t *testing.T) {
			if f.nodeagent() && strings.HasPrefix(c.request, "PRI ") {
				c.codes = []int{none} // it is the mux that would say 400
			}
			methods := make([]string, len(c.codes)+2) // more would be seen
			for i := range methods {
				methods[i] = http.MethodGet
			}
			var codes []int
			got := raw(t, f.addr, nil, c.request+end, methods...)
			for _, a := range got {
				codes = append(codes, a.code)
			}
			if !slices.Equal(codes, c.codes) {
				t.Errorf("got %v, want %v", got, c.codes)
			}
		})
	}
}

// A certificate is one of the connection, and of nobody else's.
func TestCertificateStaysWithConnection(t *testing.T) {
	f := cluster(t)
	inner := f.line(who{}, "GET", "/pods")
	got := raw(t, f.addr, f.admin.cert, inner+inner, "GET", "GET")
	if len(got) != 2 || got[0].code != 200 || got[1].code != 200 {
		t.Errorf("the administrator's connection got %v", got)
	}
	f.ask(t, who{}, "GET", "/pods").want(t, "nobody right after", http.StatusUnauthorized, "Unauthorized")
}
