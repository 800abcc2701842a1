# The configuration of Nagatha Runtime. Every setting is here; what is commented
# out shows its default. Paths are relative to this file. It needs no environment
# variable; env("NAME"), env("NAME", "default") and file("path") read values from
# elsewhere (an empty variable counts as none where there is a default). Check a change
# with: nagatha-runtime -config config.hcl -check

# Everything that is kept: the database, the admin token, compiled modules.
data_dir = "data"

log {
  level = env("LOG_LEVEL", "info") # debug, info, warn, error
  # format = "text" # or "json"
}

server {
  listen = "127.0.0.1:8765"

  # Listening on an address that others can reach needs this, since there is no
  # TLS: put a proxy in front instead.
  # insecure_listen = false

  # Names that clients may call the server by, besides localhost and the address
  # itself; and origins of web pages that may use it.
  # allowed_hosts   = ["nagatha.example.com"]
  # allowed_origins = ["https://app.example.com"]

  limits {
    # frame_bytes         = "4MiB" # a WebSocket message
    # body_bytes          = "4MiB" # a REST request
    # subscriptions       = 1000   # of a connection
    # in_flight           = 1000   # requests of a connection
    # requests_per_second = 5000   # of a token
    # connections         = 10000
    # anonymous           = 50     # connections that have not said hello
    # heartbeat           = "25s"
  }
}

metrics {
  # public = false # true: /metrics needs no token
}

# The three endpoints of the old web app, for clients written against it:
# /api/send-message-nagatha-core/, /api/task-status/ID/ and /api/system-status/.
compat {
  seed_api = true
}

# Where tasks live: an SQLite file in data_dir, which belongs to one runtime, or a
# PostgreSQL database (15 or later) that any number of runtimes share, each with a
# data_dir of its own:
#   store "postgres" {
#     url = env("DATABASE_URL") # postgres://user:password@host:5432/database
#   }
store "sqlite" {}

# The message bus that carries events: "sql" on the store's database, or
# "gochannel" in memory, which forgets what was not delivered yet.
bus "sql" {}

# Tasks wait in queues: higher priority first; within one the kinds take turns, and of a
# kind who is due first starts first. concurrency is how many run at once on each
# runtime; all other limits hold over all runtimes on one database.
queue "default" {
  concurrency = 16

  # depth     = 100000  # most tasks that may wait; a submit beyond is refused (429)
  # rate      = "100/s" # most starts: a number per s, m or h; none: no limit
  # burst     = 5       # starts at once after a pause; default a twentieth of a second's
  # key_concurrency = 1 # tasks with the same concurrency_key that run at once
  # key_rate  = "10/m"  # most starts of tasks with the same concurrency_key
  # key_burst = 1
}

# For what takes long, such as conversations with a model.
queue "agent" {
  concurrency = 8
}

# For timers of reminders, so that they wait for nothing else.
queue "reminders" {
  concurrency = 8
  depth       = 1000000
}

# Caps on tasks.
limits {
  # payload         = "256KiB"
  # result          = "256KiB"
  # log_line        = "16KiB"
  # output_chunk    = "64KiB"
  # events_per_task = 100000
  # bytes_per_task  = "64MiB"
  # drain           = "30s" # for running tasks when the runtime is stopped
}

# How long ended tasks are kept, and published events.
retention {
  # completed = "168h" # and cancelled
  # failed    = "720h"
  # events    = "168h"
}

# For kinds whose plugin declares nothing.
retry {
  # timeout      = "1m" # of an attempt
  # max_attempts = 5
  # backoff      = "1s" # doubles with each attempt, with full jitter
  # max_backoff  = "5m" # no wait is longer; at least backoff
}

# Plugins. Each is a module (wasm) or a program (command), and may do only what
# its grant says.
#
#   wasm    = "FILE"             command = ["PROGRAM", "ARGUMENT"]
#   sha256  = "…"                env     = { NAME = "value" }   # all that it sees
#   enabled = true               dir     = "."
#                                mtls    = false          # only plugins in Go speak it
#   grant {
#     store   = true                            # the key-value store, its own part
#     publish = ["demo.*"]                      # event types
#     http    = ["api.example.com", "127.0.0.1:8080"] # private addresses literally,
#                                               # with their port; a URL stands for its host
#     secrets = { KEY = env("KEY") }
#     submit  = ["demo.*"]                      # kinds of child tasks
#     queues  = ["default"]                     # that they may name; left out: any
#     await   = true                            # waiting for signals and tasks
#     approve = true                            # asking a person
#   }
#   limits {
#     memory        = "128MiB"
#     instances     = 4     # wasm: most copies at once
#     concurrency   = 1     # attempts at once: of a copy; of a program: no limit
#     start_timeout = "10s" # 30s for wasm; one that takes longer is tried again
#     idle          = "30s" # wasm: copies without work leave, and give their memory back;
#                           # the next task loads the module in about 0.1s. 0s: they stay
#     store         = "4GiB" # what it keeps in the store; beyond that it can only delete
#   }
#   config { }              # what the plugin itself can be told

plugin "demo" {
  wasm = "build/plugins/demo.wasm"
  grant {
    publish = ["demo.*"]
    store   = true
    submit  = ["demo.*"]
    await   = true
    approve = true
    # http = ["127.0.0.1:8080"] # for demo.fetch
  }
}

# Conversations. Without a model slash commands work, and every other message is
# answered with what is missing. See docs/agent.md.
plugin "agent" {
  wasm = "build/plugins/agent.wasm"
  grant {
    store   = true
    http    = [env("OPENAI_BASE_URL", "https://api.openai.com/v1"), env("ANTHROPIC_BASE_URL", "https://api.anthropic.com/v1")]
    secrets = {
      OPENAI_API_KEY    = env("OPENAI_API_KEY", "")
      ANTHROPIC_API_KEY = env("ANTHROPIC_API_KEY", "")
    }
    submit  = ["memory.*", "mcp.list_tools", "mcp.call_tool", "mcp.list_resources", "mcp.read_resource", "usage.*", "reminders.*", "demo.*"] # what may be a tool
    publish = ["usage.recorded", "agent.session.*"]
    await   = true
    approve = true
  }
  limits {
    memory    = "256MiB"
    instances = 8 # conversations at once
  }
  config {
    model    = env("OPENAI_MODEL", env("OPENAI_API_KEY", "") == "" ? "" : "gpt-4o-mini")
    base_url = env("OPENAI_BASE_URL", "") # any server with OpenAI's chat completions
    # provider = "anthropic" # with model = "…" and base_url = env("ANTHROPIC_BASE_URL", "")

    # usage_provider    = ""     # whose prices plugin "usage" takes; "": what the host of base_url says, "local" for an own machine
    # personality       = file("personality.txt") # default: Nagatha, warm, precise, a little playful
    # models            = []     # that /models shows besides model
    # max_output_tokens = 0      # of a reply; 0: the server's own limit
    # context_window    = 64000  # tokens of the model
    # idle_timeout      = "5m"   # most time without a byte from the server
    # limits = { steps = 20, tool_calls = 60, time = "10m", tokens = 0, cost_usd = 0 } # of a turn; 0 tokens or cost: none
    # tool_result_bytes = 16384  # of what a tool says that the model is told
    # approval_timeout  = "24h"  # then it is a no

    # Who decides about a tool's calls: auto, ask (a person, each time) or deny. The
    # most exact pattern counts. Where none matches: ask for an MCP tool that does not
    # say that it destroys nothing, auto for the rest.
    # tools = { "mcp.files.read_file" = "auto", "mcp.>" = "ask", "reminders.delete" = "deny" }
  }
}

# Reminders, to-dos and notes.
plugin "reminders" {
  wasm = "build/plugins/reminders.wasm"
  grant {
    store   = true
    publish = ["reminder.*", "todo.due"]
    submit  = ["reminders.fire", "reminders.deliver"]
    # http    = ["example.com"]               # for webhooks
    # secrets = { PHONE = env("PHONE_HOOK") } # whsec_ and 24 to 64 bytes in base64
  }
  limits {
    instances   = 4
    concurrency = 8
    idle        = "2m" # longer than the sweep's minute: one copy stays, and a timer does not wait for it
  }
  config {
    queue = "reminders" # of timers and webhooks

    # zone = "UTC"  # of reminders that name none
    # keep = "720h" # how long what is over is kept, and delivery logs

    # default_channels = ["phone"] # of reminders that name none
    # channels = {                 # webhooks beside the event reminder.due
    #   phone = { url = "https://example.com/hook", secret = "PHONE" }
    # }
  }
}

plugin "memory" {
  wasm = "build/plugins/memory.wasm"
  grant {
    store   = true
    publish = ["memory.entry.*"]
  }
  config {
    default_ttl = "0s" # for entries without a ttl; 0s keeps them

    # max_entries = 100000   # superseded facts included
    # max_bytes   = "256MiB" # of all values
    # max_value   = "64KiB"  # of one; at most 100KiB
  }
}

plugin "usage" {
  wasm = "build/plugins/usage.wasm"
  grant {
    store = true
  }
  limits {
    instances   = 2
    concurrency = 16 # records that run in one instance at once are written together
  }
  config {
    # zone        = "UTC"   # in which a day begins, an IANA name
    # keep        = "9600h" # how long records are kept; totals stay
    # reservation = "10m"   # how long money stays set aside for a call that nobody records
    # budgets = { day = 5, session = 1 } # US dollars; usage.set_budget goes before
    prices = { # US dollars for a million tokens, before the built-in table
      # "local/*"    = { input = 0, output = 0 } # models that run at home are free
      # "acme/large" = { input = 1.25, cached = 0.125, output = 10 }
      # more in docs/usage.md
    }
  }
}

# MCP servers: programs that offer tools, resources and prompts. See docs/mcp.md.
plugin "mcp" {
  command = ["build/plugins/mcp"]
  dir     = "." # where file and the servers' relative paths begin
  env = { # ${NAME} in the file is one of these
    PATH = env("PATH", "/usr/local/bin:/usr/bin:/bin")
    HOME = env("HOME", "/tmp") # npx and uvx keep what they install there
  }
  grant {
    store   = true # remembers which tools were seen, and how
    publish = ["mcp.>"]
  }
  config {
    # file = "mcp.json"  # more servers, as {"mcpServers": {…}}; mcp.reload reads it again
    # pin_tools = true   # a tool that changed is disabled until mcp.confirm_tool
    servers = {
      # everything = {
      #   command = ["npx", "--yes", "@modelcontextprotocol/server-everything"]
      #   env     = { KEY = "value" } # besides PATH and HOME
      #   cwd     = "/srv"
      # }
      # search = {
      #   url     = "https://mcp.example.com/mcp" # streamable HTTP
      #   headers = { Authorization = "Bearer …" }
      # }
      #
      # For both:
      #   enabled  = true
      #   allow    = ["read_*"] # only these tools
      #   deny     = ["*_all"]  # not these
      #   protocol = "2026-07-28" # the newest version to offer; default: the newest there is
      #   connect_timeout = "15s"
      #   list_timeout    = "10s"
      #   call_timeout    = "1m" # a call may ask for another
    }
  }
}

# Schedules submit a task at each of their ticks. They are shown by "nagatha
# schedules list" and changed only here; clients make further ones of their own.
#
#   schedule "nightly-report" {
#     cron = "30 2 * * *"      # minute hour day month weekday; 6 fields: second first
#     zone = "Europe/Berlin"   # of cron, an IANA name; left out: UTC. A local time that
#                              # the clock skips runs right after the gap, one that it
#                              # repeats runs once.
#     # every = "10m"          # or an interval, at least 1s
#     # at    = "2027-01-31T08:00:00+01:00" # or one moment
#
#     kind    = "demo.echo"    # of a plugin here, or system.*
#     payload = { text = "hello" }
#     # queue, priority, timeout, max_attempts: as for a task
#
#     # missed  = "once"  # ticks that passed while nothing ran: "once" makes up for
#                         # them with one task, "skip" with none, "all" with one each
#                         # (the latest 100). Less than a minute late is not missed.
#     # overlap = "skip"  # a tick while the schedule's last task has not ended: "skip"
#                         # submits nothing, "allow" submits anyhow (the default with
#                         # missed = "all"), "cancel_previous" cancels that one first
#     # jitter  = "0s"    # each task starts up to this much later, at random
#     # paused  = false
#   }

schedule "refresh-system-status" {
  every = "2m"
  kind  = "system.refresh_status"
}

schedule "cleanup-old-data" {
  every = "6h"
  kind  = "system.cleanup_old_data"
}

schedule "process-scheduled-tasks" {
  every = "1m"
  kind  = "reminders.process_due"
}

schedule "cleanup-memory-and-maintenance" {
  every = "1h"
  kind  = "memory.cleanup"
}

schedule "check-mcp-servers-health" {
  every = "5m"
  kind  = "mcp.check_health"
}

schedule "track-usage-metrics" {
  every = "15m"
  kind  = "usage.track"
}
