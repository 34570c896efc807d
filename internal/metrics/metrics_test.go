package metrics

import (
	"bytes"
	"log/slog"
	"testing"
	"time"
)

// line is what a logger with the dimensions writes for an attribute, without time.
func line(attribute slog.Attr) string {
	var out bytes.Buffer
	handler := slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	slog.New(handler).With(Stack, "prod", Country, "us").Info("run ended", "job", "flights/2013-01-01", attribute)
	return out.String()
}

func TestLineIsAMetricInCloudWatchsEmbeddedFormat(t *testing.T) {
	want := `{"level":"INFO","msg":"run ended","Stack":"prod","Country":"us","job":"flights/2013-01-01",` +
		`"_aws":{"Timestamp":1357084800000,"CloudWatchMetrics":[{"Namespace":"Sluice","Dimensions":[["Stack","Country"]],"Metrics":[{"Name":"RunsFailed","Unit":"Count"}]}]},"RunsFailed":1}` + "\n"
	if got := line(Add(time.Date(2013, 1, 2, 0, 0, 0, 0, time.UTC), RunsFailed, 1)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBytesAreCountedInBytes(t *testing.T) {
	if got := line(Add(time.Time{}, BytesLanded, 12)); !bytes.Contains([]byte(got), []byte(`{"Name":"BytesLanded","Unit":"Bytes"}]}]},"BytesLanded":12`)) {
		t.Error(got)
	}
}
