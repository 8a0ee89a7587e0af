package credential

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kubelet/config/v1"
	api "k8s.io/kubelet/pkg/apis/credentialprovider"
)

// provider is a program that is asked for credentials.
type provider struct {
	name       string
	patterns   []string
	apiVersion string
	keep       time.Duration // how long an answer counts that does not say
	tokens     *tokenRules   // nil: it is given no token
	program    program
	wire       *wire
	observe    func(provider string, took time.Duration, failed bool)
	log        *zap.Logger
	answers    answers
}

// answer is what a provider says about an image. account is set when it was given
// a token. err does not show anything secret.
type answer struct {
	entries map[string]entry
	account *ServiceAccountSource
	err     error
}

func newProvider(c configv1.CredentialProvider, dir string, deps Deps, w *wire, log *zap.Logger) (*provider, error) {
	path, err := findProgram(dir, c.Name)
	if err != nil {
		return nil, err
	}
	p := &provider{
		name: c.Name, patterns: c.MatchImages, apiVersion: c.APIVersion, keep: c.DefaultCacheDuration.Duration,
		program: program{path: path, args: c.Args, timeout: programTimeout, grace: pipeGrace},
		wire:    w, observe: deps.Observe, log: log.With(zap.String("provider", c.Name)),
	}
	for _, v := range c.Env {
		p.program.env = append(p.program.env, v.Name+"="+v.Value)
	}
	if c.TokenAttributes != nil {
		if deps.Tokens == nil || deps.ServiceAccounts == nil {
			return nil, errors.New("it has tokenAttributes, and there is nothing that gives tokens of service accounts here")
		}
		p.tokens = &tokenRules{attributes: *c.TokenAttributes, tokens: deps.Tokens, accounts: deps.ServiceAccounts}
	}
	return p, nil
}

// findProgram looks for an executable file in a directory, and never in PATH.
func findProgram(dir, name string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("look into the directory of programs: %w", err)
	}
	path := filepath.Join(dir, name)
	found, err := exec.LookPath(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("its program %s does not exist: install it or take the provider out of the configuration", path)
	}
	if err != nil {
		return "", fmt.Errorf("its program %s cannot be run: %w", path, err)
	}
	return found, nil
}

// isFor reports whether the provider is to be asked about a repository.
func (p *provider) isFor(repository string) bool {
	for _, pattern := range p.patterns {
		if matchesImage(pattern, repository) {
			return true
		}
	}
	return false
}

// provide gets the credentials for a repository: kept ones, those of a run that
// is under way for the same, or those of a run of its own.
func (p *provider) provide(ctx context.Context, pod *corev1.Pod, repository string) answer {
	var id identity
	if p.tokens != nil {
		var ask bool
		var err error
		id, ask, err = p.tokens.identify(ctx, pod)
		if err != nil {
			return answer{err: err}
		}
		if !ask {
			p.log.Debug("The provider is not asked: the pod has no service account, or it lacks a required annotation",
				zap.String("image", repository), zap.String("namespace", pod.Namespace), zap.String("pod", pod.Name))
			return answer{}
		}
	}
	entries, err := p.answers.get(ctx, repository, id, func(ctx context.Context) (result, error) { return p.run(ctx, repository, id) })
	if err != nil {
		return answer{err: err}
	}
	return answer{entries: entries, account: id.account}
}

// run asks the program.
func (p *provider) run(ctx context.Context, repository string, id identity) (result, error) {
	request, err := p.wire.request(p.apiVersion, repository, id)
	if err != nil {
		return result{}, errors.New("the request cannot be encoded")
	}
	began := time.Now()
	data, err := p.program.run(ctx, request)
	if p.observe != nil {
		p.observe(p.name, time.Since(began), err != nil)
	}
	if err != nil {
		return result{}, fmt.Errorf("run %s: %w", p.program.path, err)
	}
	response, err := p.wire.reply(p.apiVersion, data)
	if err != nil {
		return result{}, fmt.Errorf("ran %s: %w", p.program.path, err)
	}
	r := result{entries: make(map[string]entry, len(response.Auth)), scope: response.CacheKeyType, keep: p.keep}
	for key, auth := range response.Auth {
		if id.token != "" && !id.perToken && auth.Password == id.token {
			return result{}, errors.New("it answered with the service account's token as password, " +
				"which is allowed with tokenAttributes.cacheType Token only: other pods would get it")
		}
		r.entries[key] = entry{username: auth.Username, password: auth.Password}
	}
	if response.CacheDuration != nil {
		r.keep = response.CacheDuration.Duration
	}
	return r, nil
}

// result is an answer and what it says about keeping it.
type result struct {
	entries map[string]entry
	scope   api.PluginCacheKeyType
	keep    time.Duration // 0 or less: not at all
}
