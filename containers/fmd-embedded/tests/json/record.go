// Records what Go's encoding/json makes of odd request bodies, for src/json:
//
//	go run record.go > recorded-go.json
//
// Run it by hand when a case is added; the tests need no Go.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
)

type body struct {
	IDT                    string
	Data                   string
	SessionDurationSeconds uint64
}

type record struct {
	Body    []int
	Ok      bool
	IDT     string
	Data    string
	Seconds uint64
	Encoded string
}

var cases = []string{
	``, ` `, `null`, `nullx`, `null{`, `nul`, `true`, `5`, `"x"`, `[]`, `[[`, `{}`, `{}x`, `{}{}`, `{"a"}`, `{,}`, `{"IDT":"a",}`,
	" \t\r\n{}", "\ufeff{}", `{"IDT":"a"} trailing`, `{"IDT":"a"}}`, `{"IDT":"a"`, `{'IDT':'a'}`, `{IDT:"a"}`, `{"IDT" : "a" }`,
	`{"IDT":null}`, `{"IDT":"a","IDT":null}`, `{"IDT":"a","IDT":"b"}`, `{"IDT":"a","idt":"b"}`, `{"idt":"b","IDT":"a"}`, `{"iDt":"a"}`,
	`{"IDT":5}`, `{"IDT":true}`, `{"IDT":{}}`, `{"IDT":[]}`, `{"IDT":["a"]}`, `{"IDT":{"IDT":"a"}}`, `{"IDT":1.5}`, `{"IDT":"a","Data":5}`,
	`{"IDT":"` + "\u017f" + `"}`, `{"\u017fession":1}`, `{"SE` + "\u017f" + `SIONDurationSeconds":7}`, `{"` + "\u017f" + `essionDurationSecondſ":8}`, `{"\u0049DT":"a"}`, `{"ID\u0054":"a"}`, `{"IDT ":"a"}`, `{"":"a"}`,
	`{"SessionDurationSeconds":0}`, `{"SessionDurationSeconds":1}`, `{"SessionDurationSeconds":-0}`, `{"SessionDurationSeconds":-1}`, `{"SessionDurationSeconds":1.0}`, `{"SessionDurationSeconds":1e3}`, `{"SessionDurationSeconds":1E3}`,
	`{"SessionDurationSeconds":18446744073709551615}`, `{"SessionDurationSeconds":18446744073709551616}`, `{"SessionDurationSeconds":"5"}`, `{"SessionDurationSeconds":null}`, `{"SessionDurationSeconds":5,"sessiondurationseconds":null}`,
	`{"SessionDurationSeconds":01}`, `{"SessionDurationSeconds":+1}`, `{"SessionDurationSeconds":.5}`, `{"SessionDurationSeconds":5.}`, `{"SessionDurationSeconds":1e999}`, `{"SessionDurationSeconds":[]}`, `{"SessionDurationSeconds":true}`, `{"SessionDurationSeconds":5 }`,
	`{"x":1e999}`, `{"x":-0.0e-5}`, `{"x":01}`, `{"x":1.}`, `{"x":--1}`, `{"x":NaN}`, `{"x":1e}`, `{"x":[1,2,{"y":[]}]}`, `{"x":[1,]}`, `{"x":{"IDT":"inner"},"IDT":"outer"}`,
	`{"IDT":"\u0000"}`, `{"IDT":"\u00e9\u20ac"}`, `{"IDT":"\ud83d\ude00"}`, `{"IDT":"\ud83d"}`, `{"IDT":"\ude00"}`, `{"IDT":"\ud83dx"}`, `{"IDT":"\ud83d\n"}`, `{"IDT":"\ud83d\u0041"}`, `{"IDT":"\ud83d\ud83d\ude00"}`, `{"IDT":"\uD83D\uDE00\uD83D"}`, `{"IDT":"\ud83d"`,
	`{"IDT":"\u12"}`, `{"IDT":"\u12g4"}`, `{"IDT":"\x41"}`, `{"IDT":"\'"}`, `{"IDT":"\/\\\"\b\f\n\r\t"}`, `{"IDT":"\a"}`, `{"IDT":"\`,
	"{\"IDT\":\"a\nb\"}", "{\"IDT\":\"a\tb\"}", "{\"IDT\":\"a\x00b\"}", "{\"IDT\":\"a\x1fb\"}", "{\"IDT\":\"a\x7fb\"}", "{\"IDT\":\"\u2028\u2029<>&'\"}",
	"{\"IDT\":\"\xff\"}", "{\"IDT\":\"\xe2\x82\"}", "{\"IDT\":\"\xe2\x82\xac\"}", "{\"IDT\":\"\xc3\"}", "{\"IDT\":\"\xed\xa0\x80\"}", "{\"IDT\":\"\xed\xa0\xbd\xed\xb8\x80\"}", "{\"IDT\":\"\xf0\x9f\x98\"}", "{\"IDT\":\"\xf4\x90\x80\x80\"}", "{\"IDT\":\"\xc0\x80\"}", "{\"IDT\":\"\xef\xbf\xbd\"}",
	"{\"\xff\":\"a\"}", "{\"ID\xff\":\"a\"}", "{\xff}", "\xff{}", "{}\xff", "{\"IDT\":\"a\"}\xff",
}

// What random objects are put together from.
var keys = []string{`"IDT"`, `"idt"`, `"\u0049DT"`, `"Data"`, `"dATA"`, `"SessionDurationSeconds"`, `"\u017feSSIONdURATIONsECONDS"`, `"x"`, `""`}
var values = []string{`"a"`, `"é"`, `"\ud83d"`, `"\ude00\ud83d\ude00"`, "\"\xff\"", "\"\xe2\x82\"", `""`, `null`, `7`, `0`, `18446744073709551615`, `1.5`, `true`, `[null,{"IDT":"x"}]`, `{}`}
var junk = "{}[]\",:\\ \n0e.-nu\xff\x01"

func randomBody(random *rand.Rand) string {
	text := "{"
	for n := random.Intn(4); n >= 0; n-- {
		text += keys[random.Intn(len(keys))] + ":" + values[random.Intn(len(values))]
		if n > 0 {
			text += ","
		}
	}
	text += "}"
	if random.Intn(2) == 0 {
		at := random.Intn(len(text))
		text = text[:at] + string(junk[random.Intn(len(junk))]) + text[at+random.Intn(2):]
	}
	return text
}

func decode(raw string) record {
	var b body
	err := json.NewDecoder(bytes.NewReader([]byte(raw))).Decode(&b)
	r := record{Body: []int{}, Ok: err == nil}
	for _, c := range []byte(raw) {
		r.Body = append(r.Body, int(c))
	}
	if err == nil {
		r.IDT, r.Data, r.Seconds = b.IDT, b.Data, b.SessionDurationSeconds
		encoded, _ := json.Marshal(b.IDT)
		r.Encoded = string(encoded)
	}
	return r
}

func main() {
	random := rand.New(rand.NewSource(15))
	for i := 0; i < 800; i++ {
		cases = append(cases, randomBody(random))
	}
	fmt.Println("[")
	for i, raw := range cases {
		line, _ := json.Marshal(decode(raw))
		os.Stdout.Write(line)
		if i < len(cases)-1 {
			fmt.Print(",")
		}
		fmt.Println()
	}
	fmt.Println("]")
}
