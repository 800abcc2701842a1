package main

// Stands in until the plugin has its main.go; delete this file with it.
func main() { _, _ = newModel(modelConfig{}) }
