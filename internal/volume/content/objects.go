package content

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
)

// DefaultMode is the mode of files whose volume says none. The API server fills it
// in, so that only pods that never saw one lack it.
const DefaultMode int32 = 0o644

// ModeOr is the mode, or else what stands in for it.
func ModeOr(mode *int32, otherwise int32) int32 {
	if mode == nil {
		return otherwise
	}
	return *mode
}

// FromConfigMap returns the files of a ConfigMap: all its keys, or the items alone.
// A key that is missing is an error, or else passed over where that is optional.
// The files share the memory of the object's binary data.
func FromConfigMap(cm *corev1.ConfigMap, items []corev1.KeyToPath, defaultMode int32, optional bool) (Files, error) {
	if len(items) == 0 {
		files := make(Files, len(cm.Data)+len(cm.BinaryData))
		for key, text := range cm.Data {
			files[key] = File{Data: []byte(text), Mode: defaultMode}
		}
		for key, data := range cm.BinaryData {
			files[key] = File{Data: data, Mode: defaultMode}
		}
		return files, nil
	}
	find := func(key string) ([]byte, bool) {
		if text, has := cm.Data[key]; has {
			return []byte(text), true
		}
		data, has := cm.BinaryData[key]
		return data, has
	}
	return pick(items, defaultMode, optional, find, "configmap references non-existent config key: ")
}

// FromSecret returns the files of a Secret, as [FromConfigMap] does those of a
// ConfigMap. The files share the memory of the object.
func FromSecret(s *corev1.Secret, items []corev1.KeyToPath, defaultMode int32, optional bool) (Files, error) {
	if len(items) == 0 {
		files := make(Files, len(s.Data))
		for key, data := range s.Data {
			files[key] = File{Data: data, Mode: defaultMode}
		}
		return files, nil
	}
	find := func(key string) ([]byte, bool) {
		data, has := s.Data[key]
		return data, has
	}
	return pick(items, defaultMode, optional, find, "references non-existent secret key: ")
}

// pick takes the items from where find has them, and says missing of a key that is
// needed and is not there. The last item of a path counts.
func pick(items []corev1.KeyToPath, defaultMode int32, optional bool, find func(key string) ([]byte, bool), missing string) (Files, error) {
	files := make(Files, len(items))
	for _, item := range items {
		data, has := find(item.Key)
		if !has && optional {
			continue
		}
		if !has {
			return nil, errors.New(missing + item.Key)
		}
		files[item.Path] = File{Data: data, Mode: ModeOr(item.Mode, defaultMode)}
	}
	return files, nil
}
