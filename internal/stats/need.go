package stats

// What the answers are made from.
const (
	// needResource is what /metrics/resource shows.
	needResource = NeedCPU | NeedMemory | NeedSwapLimits
	// needBrief is what the summary shows of CPU and memory alone, needSummary all.
	needBrief   = NeedCPU | NeedMemory | NeedMemoryLimits | NeedSwapLimits | NeedPressure
	needSummary = needBrief | NeedNetwork | NeedProcesses
)
