package config

import "github.com/hashicorp/hcl/v2"

// The blocks as they stand in the file.
type (
	fileBlock struct {
		DataDir   hcl.Expression  `hcl:"data_dir,optional"`
		Log       *logBlock       `hcl:"log,block"`
		Server    *serverBlock    `hcl:"server,block"`
		Metrics   *metricsBlock   `hcl:"metrics,block"`
		Compat    *compatBlock    `hcl:"compat,block"`
		Store     *kindBlock      `hcl:"store,block"`
		Bus       *kindBlock      `hcl:"bus,block"`
		Queues    []queueBlock    `hcl:"queue,block"`
		Plugins   []pluginBlock   `hcl:"plugin,block"`
		Schedules []scheduleBlock `hcl:"schedule,block"`
		Limits    *limitsBlock    `hcl:"limits,block"`
		Retention *retentionBlock `hcl:"retention,block"`
		Retry     *retryBlock     `hcl:"retry,block"`
	}
	logBlock struct {
		Level  hcl.Expression `hcl:"level,optional"`
		Format hcl.Expression `hcl:"format,optional"`
	}
	serverBlock struct {
		Listen         hcl.Expression     `hcl:"listen,optional"`
		InsecureListen hcl.Expression     `hcl:"insecure_listen,optional"`
		AllowedHosts   hcl.Expression     `hcl:"allowed_hosts,optional"`
		AllowedOrigins hcl.Expression     `hcl:"allowed_origins,optional"`
		Limits         *serverLimitsBlock `hcl:"limits,block"`
	}
	serverLimitsBlock struct {
		FrameBytes        hcl.Expression `hcl:"frame_bytes,optional"`
		BodyBytes         hcl.Expression `hcl:"body_bytes,optional"`
		Subscriptions     hcl.Expression `hcl:"subscriptions,optional"`
		InFlight          hcl.Expression `hcl:"in_flight,optional"`
		RequestsPerSecond hcl.Expression `hcl:"requests_per_second,optional"`
		Connections       hcl.Expression `hcl:"connections,optional"`
		Anonymous         hcl.Expression `hcl:"anonymous,optional"`
		Heartbeat         hcl.Expression `hcl:"heartbeat,optional"`
	}
	metricsBlock struct {
		Public hcl.Expression `hcl:"public,optional"`
	}
	compatBlock struct {
		SeedAPI hcl.Expression `hcl:"seed_api,optional"`
	}
	kindBlock struct {
		Kind string    `hcl:"kind,label"`
		Body hcl.Body  `hcl:",remain"`
		Def  hcl.Range `hcl:",def_range"`
	}
	postgresBlock struct {
		URL hcl.Expression `hcl:"url,optional"`
	}
	queueBlock struct {
		Name           string         `hcl:"name,label"`
		Concurrency    hcl.Expression `hcl:"concurrency,optional"`
		Depth          hcl.Expression `hcl:"depth,optional"`
		KeyConcurrency hcl.Expression `hcl:"key_concurrency,optional"`
		Rate           hcl.Expression `hcl:"rate,optional"`
		Burst          hcl.Expression `hcl:"burst,optional"`
		KeyRate        hcl.Expression `hcl:"key_rate,optional"`
		KeyBurst       hcl.Expression `hcl:"key_burst,optional"`
		Def            hcl.Range      `hcl:",def_range"`
	}
	limitsBlock struct {
		Payload       hcl.Expression `hcl:"payload,optional"`
		Result        hcl.Expression `hcl:"result,optional"`
		LogLine       hcl.Expression `hcl:"log_line,optional"`
		OutputChunk   hcl.Expression `hcl:"output_chunk,optional"`
		EventsPerTask hcl.Expression `hcl:"events_per_task,optional"`
		BytesPerTask  hcl.Expression `hcl:"bytes_per_task,optional"`
		Drain         hcl.Expression `hcl:"drain,optional"`
	}
	retentionBlock struct {
		Completed hcl.Expression `hcl:"completed,optional"`
		Failed    hcl.Expression `hcl:"failed,optional"`
		Events    hcl.Expression `hcl:"events,optional"`
	}
	retryBlock struct {
		Timeout     hcl.Expression `hcl:"timeout,optional"`
		MaxAttempts hcl.Expression `hcl:"max_attempts,optional"`
		Backoff     hcl.Expression `hcl:"backoff,optional"`
		MaxBackoff  hcl.Expression `hcl:"max_backoff,optional"`
	}
)
