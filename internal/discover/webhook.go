package discover

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"ringfence.dev/ringfence/rules"
)

// A hook is something outside that the API server calls: a Service, or a URL.
type hook struct {
	object

	field string // JSON pointer of what names the Service, or of the URL
	// what is for people: "webhook X", "conversion", "API service".
	what    string
	service name
	port    uint16
	// host is that of a URL. Empty iff there is a Service.
	host string
	// class: some webhooks may fail.
	class Class
	// logs is what the API server logs when its packets are dropped.
	logs string
}

type rawServiceRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Port      int64  `json:"port"`
	Path      string `json:"path"`
}

type rawClientConfig struct {
	URL     string         `json:"url"`
	Service *rawServiceRef `json:"service"`
}

// post is the request that the API server makes, in the words of its log.
func (c *rawClientConfig) post(seconds int64) string {
	at := c.URL
	if s := c.Service; s != nil {
		at = fmt.Sprintf("https://%s.%s.svc:%d/%s", s.Name, s.Namespace, cmp.Or(s.Port, httpsPort), strings.TrimPrefix(s.Path, "/"))
	}
	end := "context deadline exceeded"
	if seconds >= dialWaits { // three of its clocks end at once, and each has words of its own
		end += ", i/o timeout, or Client.Timeout exceeded"
	}
	return fmt.Sprintf("Post \"%s?timeout=%ds\": %s", at, seconds, end)
}

// addressOf stands for an address that no need can know: where the API server
// sends to is its own choice.
func addressOf(s *rawServiceRef) string {
	return fmt.Sprintf("(address of Service %s/%s):%d", s.Namespace, s.Name, cmp.Or(s.Port, httpsPort))
}

// Seconds that the API server waits, unless a webhook says otherwise.
const (
	webhookWaits    = 10
	conversionWaits = 30
	dialWaits       = 30
)

// httpsPort is where the API server calls what names no port.
const httpsPort = 443

func (r *reader) webhooks() {
	var o struct {
		Webhooks []struct {
			Name          string          `json:"name"`
			FailurePolicy string          `json:"failurePolicy"`
			Seconds       int64           `json:"timeoutSeconds"`
			ClientConfig  rawClientConfig `json:"clientConfig"`
		} `json:"webhooks"`
	}
	if !r.decode(&o) {
		return
	}
	for i := range o.Webhooks {
		w := &o.Webhooks[i]
		h := hook{what: "webhook " + w.Name, field: fmt.Sprintf("/webhooks/%d/clientConfig", i), class: Essential}
		h.logs = fmt.Sprintf("failed calling webhook %q: failed to call webhook: %s", w.Name, w.ClientConfig.post(cmp.Or(w.Seconds, webhookWaits)))
		if w.FailurePolicy == "Ignore" {
			h.class, h.logs = Expected, fmt.Sprintf("Failed calling webhook, failing open %s: %s", w.Name, h.logs)
		}
		r.hook(h, &w.ClientConfig)
	}
}

func (r *reader) conversion() {
	var o struct {
		Spec struct {
			Group string `json:"group"`
			Names struct {
				Kind string `json:"kind"`
			} `json:"names"`
			Versions []struct {
				Name    string `json:"name"`
				Storage bool   `json:"storage"`
			} `json:"versions"`
			Conversion struct {
				Strategy string `json:"strategy"`
				Webhook  struct {
					ClientConfig rawClientConfig `json:"clientConfig"`
				} `json:"webhook"`
			} `json:"conversion"`
		} `json:"spec"`
	}
	if !r.decode(&o) || o.Spec.Conversion.Strategy != "Webhook" {
		return
	}
	to := &o.Spec.Conversion.Webhook.ClientConfig
	h := hook{what: "conversion of " + r.Name, field: "/spec/conversion/webhook/clientConfig", class: Essential}
	for _, v := range o.Spec.Versions { // objects are stored in one and asked for in another
		if h.logs == "" || v.Storage {
			h.logs = fmt.Sprintf("conversion webhook for %s/%s, Kind=%s failed: %s", o.Spec.Group, v.Name, o.Spec.Names.Kind, to.post(conversionWaits))
		}
	}
	r.hook(h, to)
}

func (r *reader) apiService() {
	var o struct {
		Spec struct {
			Group   string         `json:"group"`
			Version string         `json:"version"`
			Service *rawServiceRef `json:"service"`
		} `json:"spec"`
	}
	if !r.decode(&o) || o.Spec.Service == nil { // without one the API server answers itself
		return
	}
	s := o.Spec.Service
	r.hook(hook{
		what: "API " + r.Name, field: "/spec", class: Essential,
		logs: fmt.Sprintf("%s failed with: failing or missing response from https://%s/apis/%s/%s: context deadline exceeded, or Client.Timeout exceeded", r.Name, addressOf(s), o.Spec.Group, o.Spec.Version),
	}, &rawClientConfig{Service: s})
}

func (r *reader) hook(h hook, to *rawClientConfig) {
	h.object = r.object
	bad := r.bad
	r.bad = false // one that makes no sense does not hide the others
	switch {
	case (to.URL == "") == (to.Service == nil):
		r.wrongf(h.field, "want either a url or a service")
	case to.Service != nil:
		h.field += "/service"
		h.service = name{to.Service.Namespace, to.Service.Name}
		h.port = cmp.Or(r.port(h.field+"/port", to.Service.Port), httpsPort)
		if h.service.namespace == "" || h.service.name == "" {
			r.wrongf(h.field, "want the namespace and the name of a Service")
		}
	default:
		h.field += "/url"
		h.host, h.port = r.hostPort(h.field, to.URL)
	}
	if !r.bad {
		r.keep(&h)
	}
	r.bad = r.bad || bad
}

// hostPort reads host and port of a URL.
func (r *reader) hostPort(pointer, text string) (host string, port uint16) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		r.wrongf(pointer, "%q: want a URL such as https://host:port/path", text)
		return "", 0
	}
	n := int64(httpsPort)
	if u.Port() != "" {
		n, err = strconv.ParseInt(u.Port(), 10, 64)
	}
	if err != nil || n == 0 {
		r.wrongf(pointer, "port %q: want 1 to 65535", u.Port())
	}
	return u.Hostname(), r.port(pointer, n)
}

// derive adds what the API server must reach to answer.
func (h *hook) derive(d *derivation) {
	because := h.at("%s", h.field)
	why := h.what + " fails"
	if h.host != "" {
		to := d.outside(h.host)
		d.need(&Need{From: Party{Kind: APIServer}, To: to, Protocol: rules.TCP, Ports: one(h.port), Class: h.class, Wire: Host, Why: why, Logs: h.logs}, because)
		return
	}
	d.call(&call{from: Party{Kind: APIServer}, service: h.service, port: h.port, class: h.class, why: why, logs: h.logs, because: because})
}
