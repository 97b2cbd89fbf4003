//go:debug updatemaxprocs=0

// Sbx runs a command isolated, as a normal user: sbx run CMD.
package main

import (
	"github.com/sbx-dev/sbx/cmd/sbx/internal/cli"
	"github.com/sbx-dev/sbx/cmd/sbx/internal/model"
)

func main() { cli.Main(model.Kong{}) }
