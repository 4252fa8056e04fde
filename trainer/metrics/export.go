package metrics

// Export is what `rapt export --json` prints.
type Export struct {
	Schema     int      `json:"schema"` // 1
	Checkpoint string   `json:"checkpoint"`
	Out        string   `json:"out"`
	Format     string   `json:"format"` // onnx or torchscript
	Dataset    string   `json:"dataset"`
	Arch       string   `json:"arch"`
	Width      int      `json:"width"`
	Input      [3]int64 `json:"input"` // channels, height, width
	Classes    int      `json:"classes"`
	Parameters int64    `json:"parameters"`
	Quantized  int      `json:"quantized,omitempty"` // weights that are held as codes of a byte
	Bytes      int64    `json:"bytes"`               // of the file
}
