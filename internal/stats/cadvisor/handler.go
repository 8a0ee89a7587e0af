package cadvisor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/stats"
)

// Source reads cgroups.
type Source interface {
	// Rows reads all cgroups of the node that are to be shown. With an error, the
	// rows are those that could be read. The machine's is the first.
	Rows(ctx context.Context, need stats.Need) ([]stats.Row, error)
}

// Facts are what the rest of the agent knows of the machine.
type Facts struct {
	MachineID, SystemUUID, BootID string
	KernelVersion, OSImage        string
	// Cores are those that are online; the others are in bytes.
	Cores, MemoryBytes, SwapBytes int64
}

// Config says what is shown.
type Config struct {
	Source Source
	// Facts is asked once per scrape.
	Facts func(context.Context) Facts
	// RootDir is where volumes of pods are mounted: they are not shown as file
	// systems of the machine.
	RootDir string
	// Root is the machine's root directory; empty means "/". For tests.
	Root string
}

// Handler serves the page.
type Handler struct {
	cfg      Config
	log      *zap.Logger
	families []family
	mounts   *mounts
	topology topology
	places   chan struct{}
	buffers  sync.Pool // *text
	zippers  sync.Pool // *gzip.Writer
}

// maxScrapes bounds the scrapes that are answered at once: each holds its rows.
const maxScrapes = 8

var _ http.Handler = (*Handler)(nil)

// New returns the handler of /metrics/cadvisor.
func New(cfg Config, log *zap.Logger) *Handler {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	return &Handler{
		cfg: cfg, log: log, families: families(), places: make(chan struct{}, maxScrapes),
		mounts: newMounts(cfg.Root, cfg.RootDir),
	}
}

// contentType is the text format with what a client says of names that need escaping.
// Who would rather have another format takes the text, too: nobody asks for those
// alone.
func contentType(header http.Header) string {
	return string(expfmt.NegotiateAccept(header, expfmt.FmtText))
}

// ServeHTTP implements http.Handler. Cgroups that could not be read are left out, and
// container_scrape_error says so.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", contentType(r.Header))
	w.Header().Set("Vary", "Accept-Encoding")
	var err error
	if zipped(r.Header) {
		w.Header().Set("Content-Encoding", "gzip")
		z := h.zipper(w)
		err = errors.Join(h.write(r.Context(), z), z.Close())
		z.Reset(io.Discard)
		h.zippers.Put(z)
	} else {
		err = h.write(r.Context(), w)
	}
	if err != nil {
		h.log.Debug("a client of /metrics/cadvisor did not take all of it", zap.Error(err))
	}
}

// zipped reports whether a client wants gzip. Preferences among what a client takes
// are not weighed: there is one encoding.
func zipped(header http.Header) bool {
	for _, value := range header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			return !ok || strings.Trim(q, "0.") != ""
		}
	}
	return false
}

// zipper returns a compressor that writes to w. The text repeats itself so much that
// the fastest level is within a few percent of the others' size.
func (h *Handler) zipper(w io.Writer) *gzip.Writer {
	if z, ok := h.zippers.Get().(*gzip.Writer); ok {
		z.Reset(w)
		return z
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return gzip.NewWriter(w) // the level is sound
	}
	return z
}

// write writes the page.
func (h *Handler) write(ctx context.Context, w io.Writer) error {
	facts := h.cfg.Facts(ctx)
	rows, err := h.cfg.Source.Rows(ctx, stats.NeedAll)
	failed := err != nil
	if failed && ctx.Err() == nil {
		h.log.Warn("cannot read what all containers use: /metrics/cadvisor leaves some out", zap.Error(err))
	}
	var filesystems []filesystem
	if len(rows) > 0 && rows[0].Kind == stats.KindRoot {
		filesystems = h.mounts.of(ctx, rows[0].At)
	}
	t := h.text(w)
	defer func() {
		t.w = nil
		h.buffers.Put(t)
	}()
	version(t, facts)
	p := newPage(rows, filesystems, facts)
	for i := range h.families {
		if t.err != nil {
			break
		}
		p.write(t, &h.families[i])
	}
	t.alone("container_scrape_error", "1 when some cgroups could not be read, else 0.", failed)
	machine(t, h.topology.read(h.cfg.Root, facts.Cores), facts)
	return t.flush()
}

func (h *Handler) text(w io.Writer) *text {
	t, ok := h.buffers.Get().(*text)
	if !ok {
		t = &text{buf: make([]byte, 0, textBuffer)}
	}
	t.reset(w)
	return t
}
