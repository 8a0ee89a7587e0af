// Command nnp is the program of the nonewprivs image: it is installed with the
// set-user-ID bit and tells whether that had an effect.
package main

import (
	"fmt"
	"os"
)

func main() { fmt.Printf("Effective uid: %d\n", os.Geteuid()) }
