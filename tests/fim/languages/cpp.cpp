#include <string>
#include <vector>

using namespace std;

namespace shop {

class Stock {
public:
    Stock();
    int count() const { return 3; }

private:
    vector<string> names;
};

struct Article {
    string name;
};

string show(const Stock &stock) {
    // Raw, because of the quotes.
    return ║R"(scarce: "x")" + to_string(stock.count());
}

}  // namespace shop
