//go:build e2e

package monitoring

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

const (
	replicas = 3  // at most
	target   = 50 // percent of what a pod requests
)

// TestAutoscale has a Deployment that computes scaled up, and down when it stops.
func TestAutoscale(t *testing.T) {
	t.Parallel()
	b := shared.Bed(t)
	deployment := burning("scaled")
	dir := folder(t, b, "x-scaled", &deployment.Spec.Template.Spec)
	deployments := b.Client().AppsV1().Deployments(namespace)
	_, err := deployments.Create(t.Context(), deployment, metav1.CreateOptions{})
	must(t, "creating a Deployment", err)
	t.Cleanup(func() {
		now := int64(0)
		_ = deployments.Delete(context.Background(), deployment.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	useMetricsServer(t, b)
	scalers := b.Client().AutoscalingV2().HorizontalPodAutoscalers(namespace)
	_, err = scalers.Create(t.Context(), scaler(deployment.Name), metav1.CreateOptions{})
	must(t, "creating an autoscaler", err)
	t.Cleanup(func() { _ = scalers.Delete(context.Background(), deployment.Name, metav1.DeleteOptions{}) })

	until(t, "scaled up", func(ctx context.Context) error {
		return scaled(ctx, b, deployment.Name, replicas, 1, 1000)
	})
	must(t, "ending the load", os.WriteFile(filepath.Join(dir, "idle"), nil, 0o644))
	until(t, "scaled down", func(ctx context.Context) error {
		return scaled(ctx, b, deployment.Name, 1, 0, target-10)
	})
}

// burning is a Deployment of a pod that computes until it is told not to.
func burning(name string) *appsv1.Deployment {
	pod := bedtest.NewPod(name, 0, burns)
	c := &pod.Spec.Containers[0]
	c.Resources = limited("75m", "32Mi")
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
	one := int32(1)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
}

// scaler is an autoscaler that does not wait whether things change again.
func scaler(name string) *autoscalingv2.HorizontalPodAutoscaler {
	least, share, none := int32(1), int32(target), int32(0)
	atOnce := &autoscalingv2.HPAScalingRules{
		StabilizationWindowSeconds: &none,
		Policies:                   []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 1000, PeriodSeconds: 1}},
	}
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			MinReplicas:    &least, MaxReplicas: replicas,
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: atOnce, ScaleDown: atOnce},
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &share},
			}}},
		},
	}
}

// scaled is an error unless a Deployment has that many pods, all of them ready, and
// its autoscaler works and sees a share of the requested CPU in use, in percent.
func scaled(ctx context.Context, b *bed.Bed, name string, pods int32, least, most float64) error {
	d, err := b.Client().AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look at Deployment %s: %w", name, err)
	}
	h, err := b.Client().AutoscalingV2().HorizontalPodAutoscalers(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("look at autoscaler %s: %w", name, err)
	}
	for _, c := range h.Status.Conditions {
		if (c.Type == autoscalingv2.ScalingActive || c.Type == autoscalingv2.AbleToScale) && c.Status != corev1.ConditionTrue {
			return fmt.Errorf("%s is %s: %s: %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	if len(h.Status.CurrentMetrics) != 1 || h.Status.CurrentMetrics[0].Resource == nil || h.Status.CurrentMetrics[0].Resource.Current.AverageUtilization == nil {
		return fmt.Errorf("it knows of no share in use: %+v", h.Status.CurrentMetrics)
	}
	seen := *h.Status.CurrentMetrics[0].Resource.Current.AverageUtilization
	if d.Status.Replicas != pods || d.Status.ReadyReplicas != pods || *d.Spec.Replicas != pods {
		return fmt.Errorf("%d pods wanted, %d there, %d ready, should be %d; %d %% in use",
			*d.Spec.Replicas, d.Status.Replicas, d.Status.ReadyReplicas, pods, seen)
	}
	return within("the share it sees in use", float64(seen), least, most)
}
