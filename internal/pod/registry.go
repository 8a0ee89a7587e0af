package pod

// RegistryAuth is what a registry wants to know before it hands out an image.
// The fields are those of a docker config entry; nil means anonymous.
type RegistryAuth struct {
	Username      string
	Password      string
	ServerAddress string
	// Auth is the base64 of "username:password", for entries that have only it.
	Auth          string
	IdentityToken string
	RegistryToken string
}
