package main

type manCommand struct{}

func manVerb() command { return &manCommand{} }

func (*manCommand) run(*call) error { return nil }
