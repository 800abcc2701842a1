package main

import (
	"net/netip"
	"net/url"
	"strings"
)

// sellers are the services that the price table of plugin usage knows, by the end of
// their host's name.
var sellers = map[string]string{
	"api.anthropic.com": "anthropic", "api.arcee.ai": "arcee", "api.avian.io": "avian", "amazonaws.com": "aws",
	"openai.azure.com": "azure", "azure-api.net": "azure", "cognitiveservices.azure.com": "azure", "services.ai.azure.com": "azure",
	"inference.baseten.co": "baseten", "api.cerebras.ai": "cerebras", "api.cloudflare.com": "cloudflare", "api.cohere.ai": "cohere",
	"api.cohere.com": "cohere", "api.cursor.com": "cursor", "api.deepseek.com": "deepseek", "api.doubleword.ai": "doubleword",
	"api.fireworks.ai": "fireworks", "api.githubcopilot.com": "github-copilot", "googleapis.com": "google", "api.groq.com": "groq",
	"api.minimax.com": "minimax", "api.minimax.io": "minimax", "api.minimaxi.com": "minimax", "api.mistral.ai": "mistral",
	"modal.run": "modal", "modal.direct": "modal", "api.moonshot.ai": "moonshotai", "api.moonshot.cn": "moonshotai",
	"api.novita.ai": "novita", "api.openai.com": "openai", "openrouter.ai": "openrouter",
	"oai.endpoints.kepler.ai.cloud.ovh.net": "ovhcloud", "api.perplexity.ai": "perplexity", "api.quicksilverpro.io": "quicksilverpro",
	"api.together.ai": "together", "api.together.xyz": "together", "api.typesafe.ai": "typesafe", "api.voyageai.com": "voyageai",
	"api.x.ai": "x-ai", "api.z.ai": "zai", "open.bigmodel.cn": "zhipuai",
}

// local is the seller of what is asked of a machine of one's own.
const local = "local"

// seller says who is paid for a call of the model, in the words of plugin usage: the
// same wire format is spoken by services with other prices, and by one's own machine.
// Without an address it is the format's own service. An unknown service is called by
// its host, and has no price until config.hcl gives it one.
func seller(format, baseURL string) string {
	if baseURL == "" {
		return format
	}
	u, err := url.Parse(baseURL)
	if err != nil {
		return baseURL // it was refused before
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if isLocal(host) {
		return local
	}
	if first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/"); host == "router.huggingface.co" && first != "" && first != "v1" {
		return "huggingface_" + first // it hands on to the one that its path names
	}
	for name := host; name != ""; {
		if id := sellers[name]; id != "" {
			return id
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return host
}

// isLocal reports whether a host is this machine or one in the same network, as far as
// its name says.
func isLocal(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsUnspecified()
	}
	dot := strings.LastIndexByte(host, '.')
	switch host[dot+1:] {
	case "localhost", local, "internal", "lan", "arpa":
		return true
	}
	return dot < 0
}
