package bed

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	watchtools "k8s.io/client-go/tools/watch"
)

// ErrStandalone says that a bed has no control plane to talk to.
var ErrStandalone = errors.New("this bed is standalone: it has no control plane")

// RESTConfig is the administrator's, without limits on the rate of requests.
func (b *Bed) RESTConfig() (*rest.Config, error) {
	b.live.mu.Lock()
	defer b.live.mu.Unlock()
	if b.live.config == nil {
		if b.Kubeconfig == "" {
			return nil, ErrStandalone
		}
		config, err := clientcmd.BuildConfigFromFlags("", b.Kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("read the administrator's kubeconfig: %w", err)
		}
		config.QPS, config.Burst = 1000, 2000
		b.live.config = config
	}
	return rest.CopyConfig(b.live.config), nil
}

// NodeRESTConfig is that of the node's own user, as which its agent asks, without limits
// on the rate of requests.
func (b *Bed) NodeRESTConfig() (*rest.Config, error) {
	if b.options.Standalone {
		return nil, ErrStandalone
	}
	config, err := clientcmd.BuildConfigFromFlags("", b.kubeconfigPath("node"))
	if err != nil {
		return nil, fmt.Errorf("read the node's kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 1000, 2000
	return config, nil
}

// Client is the administrator's client. It panics on a standalone bed.
func (b *Bed) Client() kubernetes.Interface {
	config, err := b.RESTConfig()
	if err != nil {
		panic(err)
	}
	b.live.mu.Lock()
	defer b.live.mu.Unlock()
	if b.live.client == nil {
		b.live.client = kubernetes.NewForConfigOrDie(config)
	}
	return b.live.client
}

// waitCluster returns when pods can be created: the API server may call the
// agent, and the default service account exists.
func (b *Bed) waitCluster(ctx context.Context) error {
	if b.options.Standalone {
		return nil
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bed-apiserver-to-agent"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:kubelet-api-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "kube-apiserver-kubelet-client"}},
	}
	_, err := b.Client().RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("let the API server call the agent: %w", err)
	}
	return b.WaitServiceAccount(ctx, metav1.NamespaceDefault)
}

// WaitServiceAccount returns when a namespace has its default service account.
func (b *Bed) WaitServiceAccount(ctx context.Context, namespace string) error {
	accounts := b.Client().CoreV1().ServiceAccounts(namespace)
	list := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = nameIs("default")
			return accounts.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = nameIs("default")
			return accounts.Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, list, &corev1.ServiceAccount{}, nil, func(e watch.Event) (bool, error) {
		return e.Type == watch.Added || e.Type == watch.Modified, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the default service account of namespace %s: %w", namespace, err)
	}
	return nil
}

// WaitNodeReady returns when the Node object says that the node is ready and
// the taint that keeps pods away is gone.
func (b *Bed) WaitNodeReady(ctx context.Context) error {
	nodes := b.Client().CoreV1().Nodes()
	last := "there is no Node object"
	list := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = nameIs(b.NodeName)
			return nodes.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = nameIs(b.NodeName)
			return nodes.Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, list, &corev1.Node{}, nil, func(e watch.Event) (bool, error) {
		node, ok := e.Object.(*corev1.Node)
		if !ok || e.Type == watch.Deleted {
			return false, nil
		}
		last = whyNotReady(node)
		return last == "", nil
	})
	if err != nil {
		return fmt.Errorf("wait for node %s to be ready: %w (%s); the end of the agent's log:\n%s",
			b.NodeName, err, last, tail(b.Component("agent").Log(), 10))
	}
	return nil
}

func nameIs(name string) string { return fields.OneTermEqualSelector("metadata.name", name).String() }

func whyNotReady(node *corev1.Node) string {
	reason := "it has no condition Ready"
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status != corev1.ConditionTrue {
			return "Ready is " + string(c.Status) + ": " + c.Message
		}
		reason = ""
	}
	for _, t := range node.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady {
			return "the taint " + t.Key + " is still there"
		}
	}
	return reason
}
