// A bare service, for comparison: POST /track in, a record in Kafka out, and the answer after its
// acknowledgement (acks=all, idempotent, which are franz-go's defaults).
//
//	KAFKA=host:port TOPIC=name PORT=number native_ingest
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	logged  = `{"status":"success","message":"Event logged."}`
	refused = `{"status":"error","message":"event and user_id must be strings"}`
)

type event struct {
	Event  string `json:"event"`
	UserID string `json:"user_id"`
}

func main() {
	producer, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("KAFKA")),
		kgo.DefaultProduceTopic(os.Getenv("TOPIC")),
		// Like ours, no compression and no wait for more: what gathers during a send is a batch.
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0),
	)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /track", func(w http.ResponseWriter, r *http.Request) {
		track(producer, w, r)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

func track(producer *kgo.Client, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var decoded event
	if err != nil || json.Unmarshal(body, &decoded) != nil ||
		decoded.Event == "" || decoded.UserID == "" {
		answer(w, http.StatusBadRequest, refused)
		return
	}
	acknowledged := make(chan error, 1)
	record := &kgo.Record{Key: []byte(decoded.UserID), Value: body}
	producer.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
		acknowledged <- err
	})
	if err := <-acknowledged; err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	answer(w, http.StatusOK, logged)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}
