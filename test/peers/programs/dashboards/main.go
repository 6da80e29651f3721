// Reads a Grafana dashboard by Grafana's own types, strictly, and prints the expressions of its queries.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	cog.NewRuntime().RegisterDataqueryVariant(prometheus.VariantConfig())
	cog.NewRuntime().RegisterPanelcfgVariant(timeseries.VariantConfig())
	for _, path := range os.Args[1:] {
		raw, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		var strict, read dashboard.Dashboard
		if err := json.Unmarshal(raw, &read); err != nil {
			log.Fatalf("%s: %v", path, err)
		}
		// The package gives an empty list of errors for a panel that has none, and then leaves the panel out.
		for _, err := range []error{strict.UnmarshalJSONStrict(raw), read.Validate()} {
			if err != nil && err.Error() != "" {
				log.Fatalf("%s: %v", path, err)
			}
		}
		for _, panel := range read.Panels {
			for _, target := range panel.Panel.Targets {
				text, err := json.Marshal(target)
				if err != nil {
					log.Fatal(err)
				}
				fmt.Println(string(text))
			}
		}
	}
}
