package emulator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Memory is a DynamoDB for tests that make millions of calls: the operations, conditions and updates that the ledger uses, evaluated in
// this process. What it does not know, it panics at. The ledger's own tests run on it and on the emulator alike.
type Memory struct {
	mu     sync.Mutex
	tables map[string]map[string]attributes
	// Before is called before each operation takes effect, and After when it has, with what Before returned; an error of either is the
	// operation's answer.
	Before func() (int, error)
	After  func(int) error
	// Conflict, where it is set, tells of each write whether a transaction touches its item at that moment: it is refused then, as DynamoDB
	// refuses it.
	Conflict func() bool
}

type attributes = map[string]types.AttributeValue

// NewMemory is an empty database. Tables are made by their first item.
func NewMemory() *Memory {
	return &Memory{tables: map[string]map[string]attributes{}, Before: func() (int, error) { return 0, nil }, After: func(int) error { return nil }}
}

func (m *Memory) conflict() bool { return m.Conflict != nil && m.Conflict() }

// errConflict is how a single write is refused that meets a transaction.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
func errConflict() error {
	return &types.TransactionConflictException{Message: aws.String("Transaction is ongoing for the item")}
}

// call runs one operation as a whole.
func call[T any](m *Memory, f func() (T, error)) (T, error) {
	var zero T
	number, err := m.Before()
	if err != nil {
		return zero, err
	}
	m.mu.Lock()
	out, err := f()
	m.mu.Unlock()
	if lost := m.After(number); lost != nil {
		return zero, lost
	}
	return out, err
}

// Replace gives a table the items that it has in another database, as a deployment does.
func (m *Memory) Replace(table string, other *Memory) { m.tables[table] = other.tables[table] }

func (m *Memory) table(name *string) map[string]attributes {
	if m.tables[*name] == nil {
		m.tables[*name] = map[string]attributes{}
	}
	return m.tables[*name]
}

// keyNames are the attributes that tables of the ledger have as keys.
var keyNames = []string{"feed", "day", "job", "token", "file", "name"}

// keyOf is the place of an item: its key attributes in a fixed order. Jobs, runs, files, feeds and progress never share a table.
func keyOf(table string, i attributes) string {
	var parts []string
	for _, name := range keysOf(table) {
		parts = append(parts, text(i[name]))
	}
	return strings.Join(parts, "\x00")
}

func keysOf(table string) []string {
	switch table[strings.LastIndex(table, "-")+1:] {
	case "feeds":
		return keyNames[:1]
	case "jobs":
		return keyNames[:2]
	case "runs":
		return keyNames[2:4]
	case "files":
		return []string{"job", "file"}
	case "progress":
		return keyNames[5:]
	}
	panic("table " + table + " is none of the ledger")
}

func text(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return fmt.Sprintf("%020s", v.Value)
	}
	panic(fmt.Sprintf("%T is no key", v))
}

// GetItem reads one item.
func (m *Memory) GetItem(_ context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	return call(m, func() (*dynamodb.GetItemOutput, error) {
		return &dynamodb.GetItemOutput{Item: maps.Clone(m.table(in.TableName)[keyOf(*in.TableName, in.Key)])}, nil
	})
}

// Query reads the items that fit a key condition, in the order of their keys or against it.
func (m *Memory) Query(_ context.Context, in *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	return call(m, func() (*dynamodb.QueryOutput, error) {
		hash := keysOf(*in.TableName)[0]
		of := tokens(aws.ToString(in.KeyConditionExpression))[2] // the first part is the hash key's
		want := text(in.ExpressionAttributeValues[of])
		items := m.find(*in.TableName, func(i attributes) bool {
			return text(i[hash]) == want && holds(aws.ToString(in.KeyConditionExpression), i, in.ExpressionAttributeNames, in.ExpressionAttributeValues)
		})
		if in.ScanIndexForward != nil && !*in.ScanIndexForward {
			slices.Reverse(items)
		}
		return &dynamodb.QueryOutput{Items: items}, nil
	})
}

// Scan reads a whole table.
func (m *Memory) Scan(_ context.Context, in *dynamodb.ScanInput, _ ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error) {
	return call(m, func() (*dynamodb.ScanOutput, error) {
		return &dynamodb.ScanOutput{Items: m.find(*in.TableName, func(attributes) bool { return true })}, nil
	})
}

func (m *Memory) find(table string, fits func(attributes) bool) []map[string]types.AttributeValue {
	var keys []string
	items := m.table(&table)
	for key, i := range items {
		if fits(i) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var found []map[string]types.AttributeValue
	for _, key := range keys {
		found = append(found, maps.Clone(items[key]))
	}
	return found
}

// BatchGetItem reads items by key.
func (m *Memory) BatchGetItem(_ context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	return call(m, func() (*dynamodb.BatchGetItemOutput, error) {
		out := &dynamodb.BatchGetItemOutput{Responses: map[string][]map[string]types.AttributeValue{}}
		for table, ask := range in.RequestItems {
			for _, key := range ask.Keys {
				if i, ok := m.table(&table)[keyOf(table, key)]; ok {
					out.Responses[table] = append(out.Responses[table], maps.Clone(i))
				}
			}
		}
		return out, nil
	})
}

// PutItem replaces an item.
func (m *Memory) PutItem(_ context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	return call(m, func() (*dynamodb.PutItemOutput, error) {
		if m.conflict() {
			return nil, errConflict()
		}
		key := keyOf(*in.TableName, in.Item)
		if !holds(aws.ToString(in.ConditionExpression), m.table(in.TableName)[key], in.ExpressionAttributeNames, in.ExpressionAttributeValues) {
			return nil, &types.ConditionalCheckFailedException{}
		}
		m.table(in.TableName)[key] = maps.Clone(in.Item)
		return &dynamodb.PutItemOutput{}, nil
	})
}

// UpdateItem changes one item.
func (m *Memory) UpdateItem(_ context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return call(m, func() (*dynamodb.UpdateItemOutput, error) {
		if m.conflict() {
			return nil, errConflict()
		}
		if !m.update(&types.Update{TableName: in.TableName, Key: in.Key, UpdateExpression: in.UpdateExpression, ConditionExpression: in.ConditionExpression,
			ExpressionAttributeNames: in.ExpressionAttributeNames, ExpressionAttributeValues: in.ExpressionAttributeValues}, true) {
			return nil, &types.ConditionalCheckFailedException{}
		}
		return &dynamodb.UpdateItemOutput{}, nil
	})
}

// DeleteItem removes one item; there may be none.
func (m *Memory) DeleteItem(_ context.Context, in *dynamodb.DeleteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error) {
	return call(m, func() (*dynamodb.DeleteItemOutput, error) {
		if m.conflict() {
			return nil, errConflict()
		}
		if !m.remove(&types.Delete{TableName: in.TableName, Key: in.Key, ConditionExpression: in.ConditionExpression,
			ExpressionAttributeNames: in.ExpressionAttributeNames, ExpressionAttributeValues: in.ExpressionAttributeValues}, true) {
			return nil, &types.ConditionalCheckFailedException{}
		}
		return &dynamodb.DeleteItemOutput{}, nil
	})
}

// TransactWriteItems changes several items, or none.
func (m *Memory) TransactWriteItems(_ context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	return call(m, func() (*dynamodb.TransactWriteItemsOutput, error) {
		if m.conflict() { // the reasons are in the order of the items
			reasons := []types.CancellationReason{{Code: aws.String("TransactionConflict")}}
			for range len(in.TransactItems) - 1 {
				reasons = append(reasons, types.CancellationReason{Code: aws.String("None")})
			}
			return nil, &types.TransactionCanceledException{CancellationReasons: reasons}
		}
		seen := map[string]bool{}
		if len(in.TransactItems) > 100 {
			panic(fmt.Sprintf("a transaction of %d items", len(in.TransactItems)))
		}
		for _, i := range in.TransactItems {
			place := placeOf(i)
			if seen[place] {
				panic("a transaction names the item " + place + " twice")
			}
			seen[place] = true
			if !m.part(i, false) {
				return nil, &types.TransactionCanceledException{CancellationReasons: []types.CancellationReason{{Code: aws.String("ConditionalCheckFailed")}}}
			}
		}
		for _, i := range in.TransactItems {
			m.part(i, true)
		}
		return &dynamodb.TransactWriteItemsOutput{}, nil
	})
}

func placeOf(i types.TransactWriteItem) string {
	if i.Delete != nil {
		return *i.Delete.TableName + keyOf(*i.Delete.TableName, i.Delete.Key)
	}
	return *i.Update.TableName + keyOf(*i.Update.TableName, i.Update.Key)
}

// part checks the condition of a part of a transaction and, when it holds, may apply it.
func (m *Memory) part(i types.TransactWriteItem, apply bool) bool {
	if i.Delete != nil {
		return m.remove(i.Delete, apply)
	}
	return m.update(i.Update, apply)
}

// remove checks a condition and, when it holds, may remove the item.
func (m *Memory) remove(d *types.Delete, apply bool) bool {
	key := keyOf(*d.TableName, d.Key)
	if !holds(aws.ToString(d.ConditionExpression), m.table(d.TableName)[key], d.ExpressionAttributeNames, d.ExpressionAttributeValues) {
		return false
	}
	if apply {
		delete(m.table(d.TableName), key)
	}
	return true
}

// update checks a condition and, when it holds, may apply the update.
func (m *Memory) update(u *types.Update, apply bool) bool {
	key := keyOf(*u.TableName, u.Key)
	old := m.table(u.TableName)[key]
	e := expression{item: old, names: u.ExpressionAttributeNames, values: u.ExpressionAttributeValues}
	if u.ConditionExpression != nil && !holds(*u.ConditionExpression, old, e.names, e.values) {
		return false
	}
	if apply {
		next := maps.Clone(old)
		if next == nil {
			next = maps.Clone(u.Key)
		}
		e.tokens = tokens(*u.UpdateExpression)
		e.apply(next)
		m.table(u.TableName)[key] = next
	}
	return true
}

var (
	word  = regexp.MustCompile(`[#:]?[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)?|<>|<=|>=|[=<>(),]`)
	cache sync.Map // expression → tokens
)

func tokens(text string) []string {
	if known, ok := cache.Load(text); ok {
		return known.([]string)
	}
	found := word.FindAllString(text, -1)
	cache.Store(text, found)
	return found
}

// expression evaluates one expression on one item.
type expression struct {
	tokens []string
	item   attributes
	names  map[string]string
	values attributes
}

func holds(condition string, item attributes, names map[string]string, values attributes) bool {
	if condition == "" {
		return true
	}
	e := expression{tokens(condition), item, names, values}
	result := e.or()
	if len(e.tokens) > 0 {
		panic(fmt.Sprintf("condition %q: what is %v?", condition, e.tokens))
	}
	return result
}

func (e *expression) peek() string {
	if len(e.tokens) == 0 {
		return ""
	}
	return e.tokens[0]
}

func (e *expression) next() string {
	t := e.tokens[0]
	e.tokens = e.tokens[1:]
	return t
}

func (e *expression) take(want string) bool {
	if e.peek() != want {
		return false
	}
	e.next()
	return true
}

func (e *expression) must(want string) {
	if !e.take(want) {
		panic(fmt.Sprintf("want %q before %v", want, e.tokens))
	}
}

func (e *expression) or() bool {
	result := e.and()
	for e.take("OR") {
		result = e.and() || result
	}
	return result
}

func (e *expression) and() bool {
	result := e.not()
	for e.take("AND") {
		result = e.not() && result
	}
	return result
}

func (e *expression) not() bool {
	if e.take("NOT") {
		return !e.not()
	}
	if e.take("(") {
		result := e.or()
		e.must(")")
		return result
	}
	switch e.peek() {
	case "attribute_exists", "attribute_not_exists":
		want := e.next() == "attribute_exists"
		e.must("(")
		_, there := e.path(e.next())
		e.must(")")
		return there == want
	case "contains":
		e.next()
		e.must("(")
		in, there := e.path(e.next())
		e.must(",")
		what := e.operand()
		e.must(")")
		return there && slices.Contains(in.(*types.AttributeValueMemberSS).Value, what.(*types.AttributeValueMemberS).Value)
	}
	left := e.operand()
	op := e.next()
	if op == "IN" {
		e.must("(")
		found := false
		for ok := true; ok; ok = e.take(",") {
			found = compare(left, e.operand()) == 0 && left != nil || found
		}
		e.must(")")
		return found
	}
	if op == "BETWEEN" {
		low := e.operand()
		e.must("AND")
		high := e.operand()
		return left != nil && compare(left, low) >= 0 && compare(left, high) <= 0
	}
	right := e.operand()
	if left == nil || right == nil {
		return op == "<>" && (left != nil || right != nil)
	}
	c := compare(left, right)
	switch op {
	case "=":
		return c == 0
	case "<>":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	case ">=":
		return c >= 0
	}
	panic("operator " + op)
}

// compare orders two values of one type; others are just different.
func compare(a, b types.AttributeValue) int {
	switch a := a.(type) {
	case *types.AttributeValueMemberS:
		if b, ok := b.(*types.AttributeValueMemberS); ok {
			return cmp.Compare(a.Value, b.Value)
		}
	case *types.AttributeValueMemberN:
		if b, ok := b.(*types.AttributeValueMemberN); ok {
			x, _ := new(big.Float).SetString(a.Value)
			y, _ := new(big.Float).SetString(b.Value)
			return x.Cmp(y)
		}
	}
	return -1
}

// path finds an attribute, or a member of a map.
func (e *expression) path(token string) (types.AttributeValue, bool) {
	name, member, nested := strings.Cut(token, ".")
	v, there := e.item[e.name(name)]
	if !nested || !there {
		return v, there && !nested
	}
	v, there = v.(*types.AttributeValueMemberM).Value[e.name(member)]
	return v, there
}

func (e *expression) name(token string) string {
	if !strings.HasPrefix(token, "#") {
		return token
	}
	name, ok := e.names[token]
	if !ok {
		panic("no name for " + token)
	}
	return name
}

// operand is a value, an attribute, or a function of them; nil when there is no such attribute.
func (e *expression) operand() types.AttributeValue {
	t := e.next()
	if strings.HasPrefix(t, ":") {
		v, ok := e.values[t]
		if !ok {
			panic("no value for " + t)
		}
		return v
	}
	switch t {
	case "size":
		e.must("(")
		v, there := e.path(e.next())
		e.must(")")
		if !there {
			return nil
		}
		n := 0
		switch v := v.(type) {
		case *types.AttributeValueMemberSS:
			n = len(v.Value)
		case *types.AttributeValueMemberL:
			n = len(v.Value)
		default:
			panic(fmt.Sprintf("size of %T", v))
		}
		return &types.AttributeValueMemberN{Value: fmt.Sprint(n)}
	case "if_not_exists":
		e.must("(")
		v, there := e.path(e.next())
		e.must(",")
		other := e.operand()
		e.must(")")
		if there {
			return v
		}
		return other
	case "list_append":
		e.must("(")
		a := e.operand().(*types.AttributeValueMemberL)
		e.must(",")
		b := e.operand().(*types.AttributeValueMemberL)
		e.must(")")
		return &types.AttributeValueMemberL{Value: slices.Concat(a.Value, b.Value)}
	}
	v, _ := e.path(t)
	return v
}

// apply carries out an update: SET, REMOVE, ADD and DELETE, the latter two of sets.
func (e *expression) apply(next attributes) {
	for len(e.tokens) > 0 {
		clause := e.next()
		for ok := true; ok; ok = e.take(",") {
			name := e.name(e.next())
			switch clause {
			case "SET":
				e.must("=")
				next[name] = e.operand()
			case "REMOVE":
				delete(next, name)
			case "ADD", "DELETE":
				change := e.operand().(*types.AttributeValueMemberSS).Value
				var had []string
				if v, there := next[name]; there {
					had = v.(*types.AttributeValueMemberSS).Value
				}
				had = slices.DeleteFunc(slices.Clone(had), func(s string) bool { return slices.Contains(change, s) })
				if clause == "ADD" {
					had = append(had, change...)
				}
				delete(next, name)
				if len(had) > 0 {
					next[name] = &types.AttributeValueMemberSS{Value: had}
				}
			default:
				panic("clause " + clause)
			}
		}
	}
}
