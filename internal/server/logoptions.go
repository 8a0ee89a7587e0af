package server

import (
	"errors"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"nodeagent.dev/nodeagent/internal/pod"
)

var (
	errUndecodable = errors.New(`{"message": "Unable to decode query."}`)
	errInvalidLog  = errors.New(`{"message": "Invalid request."}`)
)

// decodeLogOptions reads the query of a request for logs (API: PodLogOptions).
func decodeLogOptions(q url.Values) (*corev1.PodLogOptions, error) {
	if tail := q.Get("tail"); tail != "" { // the old name
		q["tailLines"] = []string{tail}
		if tail == "all" {
			delete(q, "tailLines")
		}
	}
	o := &corev1.PodLogOptions{}
	for name, into := range map[string]func(*[]string) error{
		"follow":       func(v *[]string) error { return runtime.Convert_Slice_string_To_bool(v, &o.Follow, nil) },
		"previous":     func(v *[]string) error { return runtime.Convert_Slice_string_To_bool(v, &o.Previous, nil) },
		"timestamps":   func(v *[]string) error { return runtime.Convert_Slice_string_To_bool(v, &o.Timestamps, nil) },
		"sinceSeconds": func(v *[]string) error { return runtime.Convert_Slice_string_To_Pointer_int64(v, &o.SinceSeconds, nil) },
		"tailLines":    func(v *[]string) error { return runtime.Convert_Slice_string_To_Pointer_int64(v, &o.TailLines, nil) },
		"limitBytes":   func(v *[]string) error { return runtime.Convert_Slice_string_To_Pointer_int64(v, &o.LimitBytes, nil) },
		"sinceTime":    func(v *[]string) error { return metav1.Convert_Slice_string_To_Pointer_v1_Time(v, &o.SinceTime, nil) },
		"stream":       func(v *[]string) error { o.Stream = &(*v)[0]; return nil },
	} {
		values, given := q[name]
		if !given || len(values) == 0 {
			continue
		}
		if err := into(&values); err != nil {
			return nil, errUndecodable
		}
	}
	return o, validateLogOptions(o)
}

// validateLogOptions refuses what the API refuses.
func validateLogOptions(o *corev1.PodLogOptions) error {
	atLeast := func(v *int64, lowest int64) bool { return v == nil || *v >= lowest }
	ok := atLeast(o.TailLines, 0) && atLeast(o.LimitBytes, 1) && atLeast(o.SinceSeconds, 1) &&
		(o.SinceSeconds == nil || o.SinceTime == nil)
	if o.Stream != nil {
		switch *o.Stream {
		case corev1.LogStreamAll:
		case corev1.LogStreamStdout, corev1.LogStreamStderr:
			ok = ok && o.TailLines == nil
		default:
			ok = false
		}
	}
	if !ok {
		return errInvalidLog
	}
	return nil
}

// logOptions translates what has been decoded.
func logOptions(o *corev1.PodLogOptions, now time.Time) pod.LogOptions {
	to := pod.LogOptions{
		Follow: o.Follow, Timestamps: o.Timestamps, TailLines: o.TailLines, LimitBytes: o.LimitBytes,
		Stdout: o.Stream == nil || *o.Stream != corev1.LogStreamStderr,
		Stderr: o.Stream == nil || *o.Stream != corev1.LogStreamStdout,
	}
	switch {
	case o.SinceSeconds != nil:
		to.Since = now.Add(-time.Duration(*o.SinceSeconds) * time.Second)
	case o.SinceTime != nil:
		to.Since = o.SinceTime.Time
	}
	return to
}
