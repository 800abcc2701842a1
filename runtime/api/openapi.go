package api

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// refine corrects, once all routes are there, what huma concludes from Go's types: a
// client that is made from the description must take every answer.
func refine(doc *huma.OpenAPI) {
	types := doc.Components.Schemas
	failed := &huma.Response{Description: "Error", Content: map[string]*huma.MediaType{
		problemType: {Schema: types.Schema(reflect.TypeFor[problem](), true, "Problem")}}}

	// Events of a batch come in a list.
	content := doc.Paths[apiPath+"/events"].Post.RequestBody.Content
	content[batchType].Schema = &huma.Schema{Type: huma.TypeArray, Items: content[structuredType].Schema}

	requests := map[*huma.Schema]bool{}
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Put, path.Delete} {
			if op == nil {
				continue
			}
			if op.Responses["default"] == nil {
				op.Responses["default"] = failed
			}
			for _, p := range op.Parameters {
				p.Schema.Nullable = false // a parameter is there, or is not
			}
			if op.RequestBody != nil {
				for _, c := range op.RequestBody.Content {
					reach(types, c.Schema, requests)
				}
			}
		}
	}
	// A request has no members but the known ones. Answers may grow.
	for _, s := range types.Map() {
		if !requests[s] && s.AdditionalProperties == false {
			s.AdditionalProperties = nil
		}
	}
	filter := types.Map()["BulkFilter"].Properties
	for _, name := range []string{"state", "kind", "label"} { // one is a list of one
		filter[name].Nullable = false
		filter[name] = &huma.Schema{AnyOf: []*huma.Schema{filter[name], filter[name].Items}}
	}
	task := types.Map()["Task"].Properties
	for _, name := range []string{"error", "progress"} { // huma makes no object nullable
		task[name] = &huma.Schema{AnyOf: []*huma.Schema{task[name], {Type: "null"}}}
	}
}

// reach notes a schema and all that it is made of.
func reach(types huma.Registry, s *huma.Schema, seen map[*huma.Schema]bool) {
	if s != nil && s.Ref != "" {
		s = types.SchemaFromRef(s.Ref)
	}
	if s == nil || seen[s] {
		return
	}
	seen[s] = true
	reach(types, s.Items, seen)
	for _, p := range s.Properties {
		reach(types, p, seen)
	}
}
