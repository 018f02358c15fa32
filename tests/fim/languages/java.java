package shop;

import java.util.List;
import java.util.Map;

interface Scarce {
    List<String> scarce();
}

public class Stock implements Scarce {
    private final Map<String, Integer> left;

    Stock(Map<String, Integer> left) {
        this.left = left;
    }

    @Override
    public List<String> scarce() {
        /* Sorted, so that the list keeps still. */
        return left.keySet().stream().filter(n -> ║left.get(n) < 3).sorted().toList();
    }

    String show() {
        return "scarce: " + scarce();
    }
}

enum Size { SMALL, LARGE }
