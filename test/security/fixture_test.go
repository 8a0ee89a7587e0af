//go:build e2e

package security

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"nodeagent.dev/nodeagent/test/bed"
)

const (
	namespace = "default"
	image     = "docker.io/library/busybox:1.37"
	victim    = "victim" // the pod that everybody is after; its container is "a"
)

// right is what a service account may do with nodes.
type right struct {
	subresource string
	verbs       []string
}

// rights are the service accounts of the suite, by name.
func rights() map[string]right {
	get := []string{"get"}
	return map[string]right{
		"nothing":    {},
		"pods":       {"pods", get},
		"healthz":    {"healthz", get},
		"configz":    {"configz", get},
		"metrics":    {"metrics", get},
		"metricsall": {"metrics", []string{"*"}},
		"stats":      {"stats", get},
		"log":        {"log", get},
		"proxy":      {"proxy", []string{"*"}},
		"proxyget":   {"proxy", get},
		"proxypost":  {"proxy", []string{"create"}},
	}
}

// fixture is a bed with users of all kinds and a pod to attack.
type fixture struct {
	bed   *bed.Bed
	addr  string // of the node API
	ca    *authority
	admin who
	users map[string]who // by the names in rights
	start figures
}

func (f *fixture) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	u, err := url.Parse(f.bed.AgentURL())
	if err != nil {
		return err
	}
	f.addr = u.Host
	pki := filepath.Join(f.bed.Dir, "pki")
	if f.ca, err = loadAuthority(pki); err != nil {
		return err
	}
	admin, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return err
	}
	f.admin.cert = &admin
	if err := f.makeUsers(ctx); err != nil {
		return err
	}
	if err := f.makeVictim(ctx); err != nil {
		return err
	}
	f.start, err = f.measure(ctx)
	return err
}

// makeUsers returns when the API server knows of their rights: what it denies
// the agent remembers for half a minute.
func (f *fixture) makeUsers(ctx context.Context) error {
	client := f.bed.Client()
	f.users = map[string]who{}
	for name, r := range rights() {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{
			ObjectMeta: metav1.ObjectMeta{Name: name},
		}, metav1.CreateOptions{}); err != nil {
			return err
		}
		if r.subresource != "" {
			if err := grant(ctx, client, name, r); err != nil {
				return err
			}
		}
		token, err := requestToken(ctx, client, name, authenticationv1.TokenRequestSpec{})
		if err != nil {
			return err
		}
		f.users[name] = who{token: token}
	}
	return nil
}

func grant(ctx context.Context, client kubernetes.Interface, name string, r right) error {
	meta := metav1.ObjectMeta{Name: "security-" + name}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"nodes/" + r.subresource}, Verbs: r.verbs,
	}}}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return err
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account(name), ResourceAttributes: &authorizationv1.ResourceAttributes{
			Resource: "nodes", Subresource: r.subresource, Verb: strings.Replace(r.verbs[0], "*", "patch", 1), Version: "v1",
		},
	}}
	for {
		got, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if got.Status.Allowed {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("waiting for the rights of %s: %w", name, err)
		}
	}
}

// pause lies between two looks at what no event tells of.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

// account is the user name of a service account.
func account(name string) string { return "system:serviceaccount:" + namespace + ":" + name }

func requestToken(ctx context.Context, client kubernetes.Interface, name string, spec authenticationv1.TokenRequestSpec) (string, error) {
	got, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("requesting a token of %s: %w", name, err)
	}
	return keepSecret(got.Status.Token), nil
}

// newPod returns a pod with one busybox container, "a".
func newPod(name, command string) *corev1.Pod {
	no, grace := false, int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "a", Image: image, Command: []string{"sh", "-c", command}}},
		},
	}
}

func (f *fixture) makeVictim(ctx context.Context) error {
	return f.run(ctx, newPod(victim, "echo hello from the victim; trap exit TERM; while :; do sleep 1 & wait $!; done"))
}

// run creates a pod and returns when it runs.
func (f *fixture) run(ctx context.Context, p *corev1.Pod) error {
	pods := f.bed.Client().CoreV1().Pods(namespace)
	if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
		return err
	}
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + p.Name})
	if err != nil {
		return err
	}
	defer w.Stop()
	for ev := range w.ResultChan() {
		if got, ok := ev.Object.(*corev1.Pod); ok && got.Status.Phase == corev1.PodRunning {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("pod %s did not run", p.Name), ctx.Err())
}
