package classroom

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The cookies that stand for the two tokens; the port stands behind the name,
// since a browser sends the cookies of one port to all of a host.
const (
	studentCookie = "sbx-classroom-"
	teacherCookie = "sbx-teacher-"
)

// NewToken is a random token of 128 bits for an address.
func NewToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it does not fail (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// same compares in constant time, whatever the lengths.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// policy allows what the page itself consists of and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// guard stands before every handler: Host, Origin, token.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !s.ownHost(r.Host) {
			http.Error(w, "This server does not go by that name.", http.StatusMisdirectedRequest)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !s.sameOrigin(r) {
			http.Error(w, "Another page may not do that.", http.StatusForbidden)
			return
		}
		if token := r.URL.Query().Get("token"); token != "" && r.Method == http.MethodGet {
			s.enter(w, r, token)
			return
		}
		if !s.holds(r, studentCookie, s.config.Token) && !s.holds(r, teacherCookie, s.config.TeacherToken) {
			http.Error(w, "The address that sbx classroom printed holds a token; this one does not.", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// enter takes the token out of the address bar and into a cookie, which no
// script can read. Another site's page sends it with no request but a link that
// the reader follows (SameSite=Lax), so that links work from a mail or a course
// page; nothing is changed by following one.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, token string) {
	cookie := &http.Cookie{Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	switch {
	case same(token, s.config.TeacherToken):
		cookie.Name = teacherCookie + s.port
	case same(token, s.config.Token):
		cookie.Name = studentCookie + s.port
	default:
		http.Error(w, "The token is wrong.", http.StatusUnauthorized)
		return
	}
	http.SetCookie(w, cookie)
	// Only to the two pages: whatever else a path says is not for a Location. A
	// fragment, which holds the switches, is kept by the browser.
	to := "/"
	if r.URL.Path == "/teacher" {
		to = r.URL.Path
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (s *Server) holds(r *http.Request, name, token string) bool {
	c, err := r.Cookie(name + s.port)
	return err == nil && token != "" && same(c.Value, token)
}

// ownHost says whether a Host header names the listener. A page of another site
// whose name has been made to resolve to this address sends its own name.
func (s *Server) ownHost(host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, "80"
	}
	if port != s.port {
		return false
	}
	if ip := net.ParseIP(strings.Trim(name, "[]")); ip != nil {
		// A name that resolves here is not an address: a page cannot send one
		// that is not its own.
		return true
	}
	return slices.Contains(s.names, strings.ToLower(name))
}

// sameOrigin says whether a request that changes something comes from the page.
func (s *Server) sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		// Every browser sends one with a POST; who is no browser has no page
		// that could be misused.
		return r.Header.Get("Sec-Fetch-Site") == ""
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == "http" && u.Host == r.Host
}
