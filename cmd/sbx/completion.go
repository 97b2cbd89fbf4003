package main

type completionCommand struct {
	Shell string `arg:"" optional:"" help:"bash, zsh or fish"`
}

func completionVerb() command { return &completionCommand{} }

func (c *completionCommand) run(*call) error { return nil }
