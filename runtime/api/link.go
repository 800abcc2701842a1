package api

import "net/url"

// nextLink is the Link header of a list that goes on at cursor: the request's own
// parameters, as far as they say anything. There is none on the last page.
func nextLink(path, cursor string, params url.Values) string {
	if cursor == "" {
		return ""
	}
	q := url.Values{"cursor": {cursor}}
	for name, values := range params {
		if len(values) > 0 && values[0] != "" {
			q[name] = values
		}
	}
	return "<" + apiPath + path + "?" + q.Encode() + `>; rel="next"`
}
