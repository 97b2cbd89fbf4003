package main

import "sync/atomic"

// rawTerminal is the terminal that sbx has put into raw mode, if any.
var rawTerminal rawState

type rawState struct{ on atomic.Bool }

func (r *rawState) active() bool { return r.on.Load() }
