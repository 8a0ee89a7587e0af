package podlogs

import "context"

// Once implements rotate.Readers. It shares the watch of whoever follows a log in the
// directory; any change there counts, a wake-up is a hint.
func (r *Reader) Once(ctx context.Context, path string, wake func()) (cancel func(), err error) {
	dir, err := r.openDir(path)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	sub, err := r.watcher.ask(ctx, request{path: dir.path, id: dir.id, call: wake}, nil)
	if err != nil {
		return nil, err
	}
	return func() { r.watcher.unsubscribe(sub) }, nil
}
