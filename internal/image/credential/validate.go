package credential

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kubelet/config/v1"
	apiv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
)

// validateProviders finds what the kubelet refuses to start with, and a name that
// is empty. That a name is there once was checked by the reader.
func validateProviders(all []configv1.CredentialProvider, tokens bool) field.ErrorList {
	root := field.NewPath("providers")
	if len(all) == 0 {
		return field.ErrorList{field.Required(root, "at least one provider is needed")}
	}
	var errs field.ErrorList
	for i, p := range all {
		at := root.Index(i)
		errs = append(errs, validateName(at.Child("name"), p.Name)...)
		errs = append(errs, validateProvider(at, p)...)
		if p.TokenAttributes != nil {
			errs = append(errs, validateTokens(at.Child("tokenAttributes"), p, tokens)...)
		}
	}
	return errs
}

// validateName checks that a provider's name is that of a file in a directory.
func validateName(at *field.Path, name string) field.ErrorList {
	switch {
	case name == "":
		return field.ErrorList{field.Required(at, "it is the name of the program")}
	case name == ".", name == "..":
		return field.ErrorList{field.Invalid(at, name, "it is the name of the program, not of a directory")}
	case strings.ContainsAny(name, "/ \x00"):
		return field.ErrorList{field.Invalid(at, name, "it must not contain '/' or spaces")}
	}
	return nil
}

func validateProvider(at *field.Path, p configv1.CredentialProvider) field.ErrorList {
	var errs field.ErrorList
	switch {
	case p.APIVersion == "":
		errs = append(errs, field.Required(at.Child("apiVersion"), "one of "+strings.Join(versions(), ", ")))
	case !slices.Contains(versions(), p.APIVersion):
		errs = append(errs, field.NotSupported(at.Child("apiVersion"), p.APIVersion, versions()))
	}
	if len(p.MatchImages) == 0 {
		errs = append(errs, field.Required(at.Child("matchImages"), "at least one pattern is needed"))
	}
	for i, pattern := range p.MatchImages {
		if _, err := parseAddress(pattern); err != nil {
			errs = append(errs, field.Invalid(at.Child("matchImages").Index(i), pattern, "it is no pattern of an image: "+err.Error()))
		}
	}
	switch d := p.DefaultCacheDuration; {
	case d == nil:
		errs = append(errs, field.Required(at.Child("defaultCacheDuration"), "0s keeps nothing"))
	case d.Duration < 0:
		errs = append(errs, field.Invalid(at.Child("defaultCacheDuration"), d.Duration.String(), "it must not be negative"))
	}
	return errs
}

func validateTokens(at *field.Path, p configv1.CredentialProvider, enabled bool) field.ErrorList {
	var errs field.ErrorList
	t := p.TokenAttributes
	if !enabled {
		errs = append(errs, field.Forbidden(at, "the feature gate KubeletServiceAccountTokenForCredentialProviders is off"))
	}
	if version := apiv1.SchemeGroupVersion.String(); p.APIVersion != version {
		errs = append(errs, field.Forbidden(at, "only apiVersion "+version+" has it"))
	}
	if t.ServiceAccountTokenAudience == "" {
		errs = append(errs, field.Required(at.Child("serviceAccountTokenAudience"), "whom the token is for"))
	}
	required := at.Child("requiredServiceAccountAnnotationKeys")
	switch {
	case t.RequireServiceAccount == nil:
		errs = append(errs, field.Required(at.Child("requireServiceAccount"), "true or false"))
	case !*t.RequireServiceAccount && len(t.RequiredServiceAccountAnnotationKeys) > 0:
		errs = append(errs, field.Forbidden(required, "it needs requireServiceAccount: true"))
	}
	types := []string{string(configv1.ServiceAccountServiceAccountTokenCacheType), string(configv1.TokenServiceAccountTokenCacheType)}
	switch {
	case t.CacheType == "":
		errs = append(errs, field.Required(at.Child("cacheType"), "one of "+strings.Join(types, ", ")))
	case !slices.Contains(types, string(t.CacheType)):
		errs = append(errs, field.NotSupported(at.Child("cacheType"), t.CacheType, types))
	}
	errs = append(errs, validateKeys(required, t.RequiredServiceAccountAnnotationKeys)...)
	errs = append(errs, validateKeys(at.Child("optionalServiceAccountAnnotationKeys"), t.OptionalServiceAccountAnnotationKeys)...)
	for _, key := range t.OptionalServiceAccountAnnotationKeys {
		if slices.Contains(t.RequiredServiceAccountAnnotationKeys, key) {
			errs = append(errs, field.Invalid(at, key, "an annotation cannot be both required and optional"))
		}
	}
	return errs
}

// validateKeys checks keys of annotations: qualified names in either case.
func validateKeys(at *field.Path, keys []string) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, key := range keys {
		for _, problem := range validation.IsQualifiedName(strings.ToLower(key)) {
			errs = append(errs, field.Invalid(at.Index(i), key, problem))
		}
		if seen[key] {
			errs = append(errs, field.Duplicate(at.Index(i), key))
		}
		seen[key] = true
	}
	return errs
}
