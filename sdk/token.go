package sdk

// AccessToken is a client's token as clients see it. The token itself is shown once,
// when it is made; the runtime keeps a checksum.
type AccessToken struct {
	ID        string   `json:"id"`     // the part of the token that may be shown
	Name      string   `json:"name"`   // whose it is: the owner of its tasks
	Scopes    []string `json:"scopes"` // what it may do
	CreatedAt Time     `json:"created_at"`
	CreatedBy string   `json:"created_by"` // the name of another token; "" for the admin token
	ExpiresAt Time     `json:"expires_at"` // null: never
	LastUsed  Time     `json:"last_used"`  // to about a minute; null: never

	Token string `json:"token,omitempty"` // when it is made, and never again
}
